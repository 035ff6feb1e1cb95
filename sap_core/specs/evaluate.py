"""Measure quality and cost of a model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .model import ModelOptions


class EvaluateSpec(ModelOptions):
    """Measure quality and cost; with a baseline, both on the same masks."""

    kind: Literal["evaluate"] = "evaluate"
    baseline: str | None = Field(None, description="the dense model to compare with: demo:NAME, folder or Hub id")
    text: str | None = Field(None, description="FILE.txt; default: held-out stories of the demo corpus")
    samples: int = Field(32, ge=1, description="texts")
    draws: int = Field(8, ge=1, description="mask draws per text (diffusion models)")
    tasks: bool = Field(True, description="score the demo corpus' three tasks where the tokenizer is the demo's")
    keep: float | None = Field(None, gt=0, le=1, description="elastic checkpoints: the share of units that is loaded")
    generate: int = Field(8, ge=0, description="texts each model goes on with: how varied, how far both agree; 0: none")
    seed: int = 0
