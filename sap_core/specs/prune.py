"""Remove weights or whole units by one method in one pattern."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ..choices.allocations import check_allocation
from ..choices.methods import METHODS, check_combination, parse_pattern
from ..errors import InvalidInput, UnknownOption
from .base import AUTO
from .calibration import CalibrationOptions
from .model import ModelOptions


class PruneOptions(ModelOptions, CalibrationOptions):
    """What every pruning says: of which model, by which method, on which texts."""

    kind: Literal["prune"] = "prune"
    method: str = Field(
        description="how weights are told apart that may go; `sap_core.pruning.planning.defaults` has the best"
    )
    seed: int = 0
    name: str = ""

    @field_validator("method")
    @classmethod
    def _method(cls, value: str) -> str:
        if value not in METHODS:
            raise UnknownOption("method", value, METHODS)
        return value


class SparsityOptions(PruneOptions):
    """How much goes, in which pattern: of prunings that do not search for it."""

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

    @property
    def sequential(self) -> bool:
        """Whether each block is measured behind the pruned ones before it."""
        return METHODS[self.method].sequential if self.order == AUTO else self.order == "sequential"

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


class PruneSpec(SparsityOptions):
    """Remove weights (or heads) by one method in one pattern."""

    strategy: Literal["direct"] = "direct"
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

    @field_validator("compensate", mode="before")
    @classmethod
    def _compensate(cls, value: Any) -> Any:
        return {False: "none", True: "bias"}[value] if isinstance(value, bool) else value  # as older runs have it

    @field_validator("allocation")
    @classmethod
    def _allocation(cls, value: str) -> str:
        check_allocation(value)
        return value

    @model_validator(mode="after")
    def _combination(self) -> PruneSpec:
        check_combination(
            self.method, self.pattern, self.sparsity, self.compare, self.order, self.allocation, self.compensate
        )
        if self.allocation_table is not None and self.allocation != "table":
            raise InvalidInput(f"allocation_table belongs to allocation 'table', not to '{self.allocation}'.")
        if self.method != "heads" and self.heads is not None:
            raise InvalidInput(f"heads belong to method 'heads', not to '{self.method}'; leave them out.")
        if self.run is not None and "heads" not in (self.method, self.pattern) and self.allocation != "instability":
            raise InvalidInput(
                "run belongs to method 'heads', pattern 'heads' and allocation 'instability'; leave it out."
            )
        decides_heads = self.pattern == "heads" or (self.method == "heads" and self.heads is None)
        if self.duplicates == "ignore" and not decides_heads:
            raise InvalidInput(
                f"duplicates concerns heads, which method '{self.method}' with pattern {self.pattern} does not remove; "
                "leave it out."
            )
        return self


class PruneCheckpointSpec(PruneSpec):
    """Prune from files to files, one block in memory at a time, for models that do not fit the memory.

    Goes on where it was interrupted; see `sap_core.prune_checkpoint` for what can be pruned this way.
    """

    kind: Literal["prune_checkpoint"] = "prune_checkpoint"  # type: ignore[assignment]
    out: str = Field(description="folder to write; must not exist unless overwrite")
    overwrite: bool = False
    verify: bool = Field(True, description="load the result in a fresh process, where it fits the memory")

    @property
    def pruning(self) -> PruneSpec:
        """What goes, apart from where it is written: the spec that the checkpoint's manifest keeps."""
        return PruneSpec.build(**{name: getattr(self, name) for name in PruneSpec.model_fields if name != "kind"})
