"""Measure which conventions a model was trained with."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .model import ModelOptions


class ConventionsSpec(ModelOptions):
    """Measure how well each combination of conventions (causal, shifted, blocks) explains a few texts."""

    kind: Literal["conventions"] = "conventions"
    text: str | None = Field(None, description="FILE.txt, one text a line; default: stories or plain English sentences")
