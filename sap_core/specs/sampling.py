"""How text is generated: the settings that samplers read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from ..choices.samplers import END_RULES, SAMPLERS
from ..errors import InvalidInput, UnknownOption
from .base import AUTO, Spec


class SamplingOptions(Spec):
    """How text is generated; part of every spec that generates."""

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
    top_k: int | None = Field(
        None, ge=0, description="draw among the k likeliest tokens; 0: all. Default: as the family publishes it"
    )
    top_p: float | None = Field(
        None, gt=0.0, le=1.0, description="draw among the likeliest tokens whose probabilities sum to p"
    )
    confidence_temperature: float | None = Field(
        None, ge=0.0, description="Dream's alg_temp: which masks open is drawn, not ranked; 0 ranks"
    )
    ends: Literal[END_RULES] = Field(
        AUTO,
        description="what an end token does: fill goes on; stop begins no further block; logits_eos_inf forbids it; "
        "confidence_eos_eot_inf writes it last. auto: stop for models that write blocks, else fill",
    )
    entropy_limit: float | None = Field(None, ge=0.0, description="sampler entropy_bounded: gamma; default 0.1")
    edit_threshold: float | None = Field(
        None, gt=0.0, le=1.0, description="sampler token_editing: confidence that rewrites a token; default 0.9"
    )
    remasking: float | None = Field(
        None, ge=0.0, le=1.0, description="samplers remdm_...: eta, how much is masked again; default: its own"
    )
    seed: int = 0

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
