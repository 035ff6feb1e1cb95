"""Many prunings of one model, measured on the same texts and masks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ..errors import InvalidInput
from .base import AUTO
from .calibration import CalibrationOptions
from .model import ModelOptions


class SweepSpec(ModelOptions, CalibrationOptions):
    """Prune one model in every combination of the lists below and measure each on the same texts and masks.

    `sap_core.sweeps.grid` says which cells this makes; nothing here is checked against the other lists.
    """

    kind: Literal["sweep"] = "sweep"
    methods: tuple[str, ...] = ()
    patterns: tuple[str, ...] = Field(("unstructured",), min_length=1)
    sparsities: tuple[float, ...] = Field((0.5,), min_length=1, description="an N:M pattern has its own and one cell")
    orders: tuple[str, ...] = Field((AUTO,), min_length=1, description="sequential, one_shot, auto")
    allocations: tuple[str, ...] = Field(("uniform",), min_length=1, description="of the sparsity over the layers")
    compensations: tuple[str, ...] = Field(
        ("none",), min_length=1, description="patterns heads and channels: none, bias, weights"
    )
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="of calibration texts and noise")
    preset: str | None = Field(None, description="a ready list of variants in place of methods: ablation")
    skip_invalid: bool = Field(False, description="leave impossible combinations out, with the reason, not refuse")
    text: str | None = Field(None, description="FILE.txt to measure on; default: held-out stories of the demo corpus")
    texts: int = Field(32, ge=1, description="texts to measure on")
    draws: int = Field(8, ge=1, description="mask draws per text (diffusion models)")
    tasks: int = Field(0, ge=0, description="examples of each demo task, others for each seed; 0: no tasks")
    speed: bool = Field(False, description="time generation, in turns with the dense model")
    evaluation_seed: int = Field(0, description="of the texts and masks, the same for every cell")
    name: str = ""

    @model_validator(mode="after")
    def _something_to_do(self) -> SweepSpec:
        if bool(self.methods) == (self.preset is not None):
            raise InvalidInput("a sweep needs either methods, such as wanda,sink, or a preset, and not both.")
        return self
