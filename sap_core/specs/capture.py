"""Generate from a prompt and record attention at every step, layer and head."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .model import ModelOptions
from .sampling import SamplingOptions


class CaptureSpec(SamplingOptions, ModelOptions):
    """Generate from a prompt and record attention at every step, layer and head."""

    kind: Literal["capture"] = "capture"
    prompts: tuple[str, ...] = Field(("",), min_length=1, description="one canvas each; batched")
    chat: bool = Field(False, description="put each prompt into the model's chat template")
    keep: float | None = Field(None, gt=0, le=1, description="elastic checkpoints: the share of units that is loaded")
    query_stride: int = Field(
        1, ge=1, description="n > 1: estimate attention from every n-th query, faster; the error is measured in the run"
    )
    precision: Literal["float32", "float16", "uint8"] = Field(
        "float32",
        description="of the stored attention: float16 halves the run (error 2^-11 of a share), uint8 quarters it "
        "(error 2.2 %, the largest share of a row exact); the run states its error",
    )
    name: str = Field("", description="shown in the list of runs")
