"""Generate from a prompt and record attention at every step, layer and head."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from ..choices.samplers import SAMPLERS
from ..errors import InvalidInput, UnknownOption
from .base import AUTO
from .model import ModelOptions


class CaptureSpec(ModelOptions):
    """Generate from a prompt and record attention at every step, layer and head."""

    kind: Literal["capture"] = "capture"
    prompts: tuple[str, ...] = Field(("",), min_length=1, description="one canvas each; batched")
    chat: bool = Field(False, description="put each prompt into the model's chat template")
    length: int = Field(128, ge=1, description="tokens in the canvas, prompt included")
    steps: int | None = Field(
        None, description="denoising steps; autoregressive: tokens to generate. Default: 64, or all tokens if fewer"
    )
    sampler: str = Field(AUTO, description="auto takes the model's own default")
    block_length: int | None = Field(None, ge=1, description="tokens per semi-autoregressive block; default one block")
    temperature: float = Field(0.0, ge=0.0, description="0 is greedy")
    guidance: float = Field(0.0, ge=0.0, description="classifier-free guidance scale; 0 is off")
    threshold: float | None = Field(
        None, gt=0.0, le=1.0, description="confidence that keeps a token, for threshold samplers; default: its own"
    )
    keep: float | None = Field(None, gt=0, le=1, description="elastic checkpoints: the share of units that is loaded")
    seed: int = 0
    query_stride: int = Field(
        1, ge=1, description="n > 1: estimate attention from every n-th query, faster; the error is measured in the run"
    )
    precision: Literal["float32", "float16", "uint8"] = Field(
        "float32",
        description="of the stored attention: float16 halves the run (error 2^-11 of a share), uint8 quarters it "
        "(error 2.2 %, the largest share of a row exact); the run states its error",
    )
    name: str = Field("", description="shown in the list of runs")

    @field_validator("steps")
    @classmethod
    def _steps(cls, value: int | None) -> int | None:
        if value is not None and value < 1:
            raise InvalidInput(f"steps is {value}; at least 1 denoising step is needed.")
        return value

    @field_validator("sampler")
    @classmethod
    def _sampler(cls, value: str) -> str:
        if value != AUTO and value not in SAMPLERS:
            raise UnknownOption("sampler", value, [AUTO, *SAMPLERS])
        return value
