"""Search for the shape of a model that is fast or small enough, and good enough."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator, model_validator

from ..choices.methods import METHODS
from ..choices.strategies import PRESETS
from ..errors import InvalidInput, UnknownOption
from .options import option
from .prune import DUPLICATES, HEADS_RUN, PruneOptions


class SearchPruneSpec(PruneOptions):
    """Remove the heads, channels and layers that reach a preset or a target, found by measurement."""

    strategy: Literal["search"] = "search"
    preset: str | None = option(None, f"Search: a point of the measured curve, one of {', '.join(PRESETS)}.")
    target_speedup: float | None = option(
        None, "Search: at least so many times as fast on this machine, such as 1.3.", gt=1
    )
    quality_drop: float | None = option(
        None, "Search: largest rise of the loss, as a share.", shown="0.05 with --target-speedup", ge=0
    )
    run: str | None = option(None, HEADS_RUN, reads="run")
    duplicates: Literal["keep_one", "ignore"] = option("keep_one", DUPLICATES)

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
        if METHODS[self.method].ranks_heads or "channels" not in METHODS[self.method].patterns:
            known = ", ".join(name for name, row in METHODS.items() if "channels" in row.patterns)
            raise InvalidInput(f"a search takes out heads, channels and layers, which needs a method of {known}.")
        return self
