"""Many prunings of one model, measured on the same texts and masks."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from ..choices.methods import METHODS
from ..errors import InvalidInput
from .base import AUTO, NAME
from .calibration import CalibrationOptions
from .model import ModelOptions
from .options import option
from .texts import TextOptions


class SweepSpec(ModelOptions, CalibrationOptions, TextOptions):
    """Prune one model in every combination of the lists below and measure each on the same texts and masks.

    `sap_core.sweeps.grid` makes the cells; the lists are not checked against each other here.
    """

    kind: Literal["sweep"] = "sweep"
    methods: tuple[str, ...] = option((), f"Comma-separated, of {', '.join(METHODS)}.")
    preset: str | None = option(None, "Instead of methods, a ready list of variants: ablation.")
    sparsities: tuple[float, ...] = option((0.5,), "Comma-separated shares.", min_length=1)
    patterns: tuple[str, ...] = option(
        ("unstructured",), "unstructured, N:M, heads, channels, layers; N:M has its own sparsity.", min_length=1
    )
    orders: tuple[str, ...] = option((AUTO,), "auto, sequential, one_shot.", min_length=1)
    allocations: tuple[str, ...] = option(
        ("uniform",), "How layers share the sparsity, such as uniform,ramp,owl.", min_length=1
    )
    compensations: tuple[str, ...] = option(("none",), "Patterns heads, channels: none, bias, weights.", min_length=1)
    seeds: tuple[int, ...] = option((0,), "Of calibration texts and noise.", min_length=1)
    skip_invalid: bool = option(False, "Leave out impossible combinations, with the reason, instead of refusing.")
    texts: int = option(32, "Texts to measure on.", ge=1)
    draws: int = option(8, "Mask draws per text (diffusion).", ge=1)
    tasks: int = option(0, "Examples of each demo task, others for each seed; 0: none.", ge=0)
    speed: bool = option(False, "Time generation, in turns with the dense model.")
    evaluation_seed: int = option(0, "Of texts and masks to measure on, the same for every combination.")
    name: str = option("", NAME)

    @model_validator(mode="after")
    def _something_to_do(self) -> SweepSpec:
        if bool(self.methods) == (self.preset is not None):
            raise InvalidInput("a sweep needs either methods, such as wanda,sink, or a preset, and not both.")
        return self
