"""One full attention map of a captured run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .base import Spec


class AttentionMapSpec(Spec):
    """One full attention map of a captured run, computed again from the tokens that the run stored."""

    kind: Literal["attention_map"] = "attention_map"
    run: str = Field(description="folder of a capture run")
    step: int = Field(ge=0)
    layer: int = Field(ge=0)
    head: int | None = Field(None, ge=0, description="default: the mean over the layer's heads")
    sample: int = Field(0, ge=0, description="which prompt of the run")
