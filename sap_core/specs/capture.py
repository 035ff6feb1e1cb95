"""Generate from a prompt and record attention at every step, layer and head."""

from __future__ import annotations

from typing import Literal

from .base import KEEP, NAME
from .model import ModelOptions
from .options import option
from .sampling import SamplingOptions


class CaptureSpec(SamplingOptions, ModelOptions):
    """Generate from a prompt and record attention at every step, layer and head."""

    kind: Literal["capture"] = "capture"
    prompts: tuple[str, ...] = option(
        ("",), "What the text begins with; again for more texts at once.", name="prompt", shown='""', min_length=1
    )
    chat: bool = option(False, "Put each prompt into the model's chat template.")
    keep: float | None = option(None, KEEP, gt=0, le=1)
    query_stride: int = option(
        1, "n > 1: estimate attention from every n-th query, faster; the run measures the error.", ge=1
    )
    precision: Literal["float32", "float16", "uint8"] = option(
        "float32",
        "Of the stored attention: float32, float16 (half the run, error 2^-11 of a share) or uint8 (a quarter, error "
        "2.2 %, the largest share of a row exact); the run states its error.",
    )
    name: str = option("", NAME)
