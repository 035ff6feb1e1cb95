"""Remove weights or whole units by one method in one pattern."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ..choices.allocations import check_allocation
from ..choices.methods import METHODS, check_combination, parse_pattern
from ..choices.strategies import PRESETS, check_mode, mode_of
from ..errors import InvalidInput, UnknownOption
from .base import AUTO
from .calibration import CalibrationOptions
from .model import ModelOptions


class PruneSpec(ModelOptions, CalibrationOptions):
    """Remove weights (or heads) by one method in one pattern."""

    kind: Literal["prune"] = "prune"
    method: str = Field(
        description="how weights are told apart that may go; `sap_core.pruning.planning.defaults` has the best"
    )
    sparsity: float = Field(0.5, description="share of weights to zero, 0 <= s < 1; for `heads`: share of heads")
    pattern: str = Field(
        "unstructured",
        description="unstructured; N:M, N of M consecutive inputs zeroed; heads, channels or layers, taken out whole",
    )
    compare: Literal["auto", "row", "matrix"] = Field(
        AUTO, description="weights compete within their output row or their matrix; auto is the method's own way"
    )
    order: Literal["auto", "sequential", "one_shot"] = Field(
        AUTO, description="block by block on pruned inputs, or all at once on dense ones; auto is the method's own way"
    )
    allocation: str = Field("uniform", description="how the sparsity is shared among layers at the same mean")
    allocation_width: float = Field(0.08, gt=0, le=0.5, description="most that a layer's sparsity leaves the mean")
    allocation_table: tuple[float, ...] | None = Field(None, description="allocation 'table' only: one share per layer")
    compensate: Literal["none", "bias", "weights"] = Field(
        "none",
        description="patterns heads and channels: how what stays makes up for what goes; a bias of what it gave on "
        "average, or the weights that stay moved by least squares",
    )
    heads: tuple[tuple[int, int], ...] | None = Field(
        None, description="method `heads` only: exactly these (layer, head) pairs instead of the most unstable"
    )
    run: str | None = Field(
        None,
        description="method or pattern `heads`, allocation `instability`: the capture run whose heads are compared",
    )
    duplicates: Literal["keep_one", "ignore"] = Field(
        "keep_one", description="heads that attend alike: the last of a group never goes, or the rule is ignored"
    )
    budget: float | None = Field(
        None,
        ge=0,
        description="progressive: layer by layer, largest rise of the loss as a share of the dense model's",
    )
    validation: str | None = Field(
        None, description="progressive: FILE.txt the loss is measured on; default: held-out stories"
    )
    target_speedup: float | None = Field(
        None, gt=1, description="search: at least so many times as fast on this machine, pattern and share found by it"
    )
    quality_drop: float | None = Field(
        None, ge=0, description="search: largest rise of the loss as a share of the dense model's; default 0.05"
    )
    preset: str | None = Field(
        None, description="search: a point of the measured curve: quality, balanced, speed or memory"
    )
    seed: int = 0
    name: str = ""

    @property
    def mode(self) -> str:
        """As `sap_core.choices.strategies.mode_of` has it."""
        return mode_of(budget=self.budget, preset=self.preset, target_speedup=self.target_speedup)

    @field_validator("preset")
    @classmethod
    def _preset(cls, value: str | None) -> str | None:
        if value is not None and value not in PRESETS:
            raise UnknownOption("preset", value, PRESETS)
        return value

    @field_validator("method")
    @classmethod
    def _method(cls, value: str) -> str:
        if value not in METHODS:
            raise UnknownOption("method", value, METHODS)
        return value

    @field_validator("compensate", mode="before")
    @classmethod
    def _compensate(cls, value: Any) -> Any:
        return {False: "none", True: "bias"}[value] if isinstance(value, bool) else value  # as older runs have it

    @field_validator("sparsity")
    @classmethod
    def _sparsity(cls, value: float) -> float:
        if not 0 <= value < 1:
            raise InvalidInput(f"sparsity is {value:g}; expected a share in [0, 1), such as 0.5.")
        return value

    @field_validator("pattern")
    @classmethod
    def _pattern(cls, value: str) -> str:
        parse_pattern(value)
        return value

    @field_validator("allocation")
    @classmethod
    def _allocation(cls, value: str) -> str:
        check_allocation(value)
        return value

    @model_validator(mode="after")
    def _combination(self) -> PruneSpec:
        if self.mode != "search":  # which finds its patterns itself
            check_combination(
                self.method, self.pattern, self.sparsity, self.compare, self.order, self.allocation, self.compensate
            )
        if self.allocation_table is not None and self.allocation != "table":
            raise InvalidInput(f"allocation_table belongs to allocation 'table', not to '{self.allocation}'.")
        if self.method != "heads" and self.heads is not None:
            raise InvalidInput(f"heads belong to method 'heads', not to '{self.method}'; leave them out.")
        heads_go = "heads" in (self.method, self.pattern) or self.mode == "search"
        if self.run is not None and not heads_go and self.allocation != "instability":
            raise InvalidInput(
                "run belongs to method 'heads', pattern 'heads' and allocation 'instability'; leave it out."
            )
        check_mode(self)
        return self


class PruneCheckpointSpec(PruneSpec):
    """Prune from files to files, one block in memory at a time, for models that do not fit the memory.

    Goes on where it was interrupted; see `sap_core.prune_checkpoint` for what can be pruned this way.
    """

    kind: Literal["prune_checkpoint"] = "prune_checkpoint"
    out: str = Field(description="folder to write; must not exist unless overwrite")
    overwrite: bool = False
    verify: bool = Field(True, description="load the result in a fresh process, where it fits the memory")
