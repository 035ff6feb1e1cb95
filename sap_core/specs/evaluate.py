"""Measure quality and cost of a model."""

from __future__ import annotations

from typing import Literal

from .base import KEEP, SEED
from .model import ModelOptions
from .options import option
from .texts import TextOptions


class EvaluateSpec(ModelOptions, TextOptions):
    """Measure quality and cost; with a baseline, both on the same masks."""

    kind: Literal["evaluate"] = "evaluate"
    baseline: str | None = option(None, "The dense model to compare with, on the same masks.")
    samples: int = option(32, "Texts.", ge=1)
    draws: int = option(8, "Mask draws per text (diffusion).", ge=1)
    tasks: bool = option(True, "Score the demo's three tasks where the model knows them.", shown="tasks")
    keep: float | None = option(None, KEEP, gt=0, le=1)
    generate: int = option(8, "Texts each model goes on with, to see how varied and alike they write; 0: none.", ge=0)
    seed: int = option(0, SEED)
