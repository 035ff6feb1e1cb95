"""Search for the shape of a model that is fast or small enough, and good enough."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from ..choices.methods import METHODS
from ..choices.strategies import PRESETS
from ..errors import InvalidInput, UnknownOption
from .prune import PruneOptions


class SearchPruneSpec(PruneOptions):
    """Take out the heads, channels and layers that reach a preset or a target, found by measuring."""

    strategy: Literal["search"] = "search"
    preset: str | None = Field(
        None, description="search: a point of the measured curve: quality, balanced, speed or memory"
    )
    target_speedup: float | None = Field(
        None, gt=1, description="search: at least so many times as fast on this machine, pattern and share found by it"
    )
    quality_drop: float | None = Field(
        None, ge=0, description="search: largest rise of the loss as a share of the dense model's; default 0.05"
    )
    run: str | None = Field(None, description="the capture run whose heads are compared")
    duplicates: Literal["keep_one", "ignore"] = Field(
        "keep_one", description="heads that attend alike: the last of a group never goes, or the rule is ignored"
    )

    @field_validator("preset")
    @classmethod
    def _preset(cls, value: str | None) -> str | None:
        if value is not None and value not in PRESETS:
            raise UnknownOption("preset", value, PRESETS)
        return value

    @model_validator(mode="after")
    def _one_goal(self) -> SearchPruneSpec:
        if self.preset is not None and (self.target_speedup is not None or self.quality_drop is not None):
            raise InvalidInput("give a preset, or target_speedup with quality_drop, not both.")
        if self.preset is None and self.target_speedup is None:
            raise InvalidInput("a search needs a preset, or a target_speedup such as 1.3.")
        if self.method == "heads" or "channels" not in METHODS[self.method].patterns:
            known = ", ".join(name for name, row in METHODS.items() if "channels" in row.patterns)
            raise InvalidInput(f"a search takes out heads, channels and layers, which needs a method of {known}.")
        return self
