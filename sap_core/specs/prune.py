"""Remove weights or whole units by one method in one pattern."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import field_validator, model_validator

from ..choices.allocations import ALLOCATIONS, check_allocation
from ..choices.methods import METHODS
from ..choices.patterns import check_combination, parse_pattern
from ..choices.quantizers import QUANTIZE, QUANTIZE_BY
from ..errors import InvalidInput, UnknownOption
from .base import AUTO, NAME, OVERWRITE, SEED, SEEDS, VERIFY
from .calibration import CalibrationOptions
from .model import ModelOptions
from .options import option
from .texts import TextOptions

HEADS_RUN = (
    "The capture run that ranks the heads (method or pattern heads, allocation instability, a search); method "
    "measured: a run of `sap ablate heads`."
)
DUPLICATES = "Heads that attend alike: keep_one never removes the last of a group; ignore."


class PruneOptions(ModelOptions, CalibrationOptions, TextOptions):
    """Options of every pruning: the model, the method, the calibration texts."""

    kind: Literal["prune"] = "prune"
    method: str = option(help=f"One of {', '.join(METHODS)}.", shown="what measured best")
    seed: int = option(0, SEED, offered=SEEDS)
    name: str = option("", NAME)

    if TYPE_CHECKING:  # what the strategies add, each its own part; code that takes any of them asks `strategy`
        strategy: Any
        sparsity: Any
        pattern: Any
        compare: Any
        budget: Any
        validation: Any
        preset: Any
        target_speedup: Any
        quality_drop: Any

    @field_validator("method")
    @classmethod
    def _method(cls, value: str) -> str:
        if value not in METHODS:
            raise UnknownOption("method", value, METHODS)
        return value

    @model_validator(mode="after")
    def _sinks_are_looked_at(self) -> PruneOptions:
        if self.sink_rule != "code" and METHODS[self.method].sinks == "none":
            raise InvalidInput(
                f"sink_rule is '{self.sink_rule}', but method '{self.method}' looks at no sinks; leave it out."
            )
        return self


class SparsityOptions(PruneOptions):
    """Options of prunings with a given sparsity and pattern."""

    sparsity: float = option(0.5, "Share of weights (method heads: of heads) to zero, 0 <= s < 1.", offered=(0, 0.99))
    pattern: str = option(
        "unstructured",
        "unstructured; N:M such as 2:4 or 4:8, N of M consecutive inputs zeroed; heads, channels or layers, taken out "
        "whole.",
    )
    compare: Literal["auto", "row", "matrix"] = option(
        AUTO, "Weights compete within their output row or their matrix; auto is the method's own way."
    )
    order: Literal["auto", "sequential", "one_shot"] = option(
        AUTO,
        "sequential (block by block, on pruned inputs) or one_shot (on dense ones); auto is the method's own way.",
    )

    @property
    def sequential(self) -> bool:
        """Whether each block is measured after the blocks before it were pruned."""
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
    allocation: str = option(
        "uniform",
        f"How layers share the sparsity at the same mean: {', '.join(ALLOCATIONS)}.",
        shown="uniform; without --method owl",
    )
    allocation_width: float = option(0.08, "Most that a layer's share leaves the mean.", gt=0, le=0.5)
    allocation_table: tuple[float, ...] | None = option(None, "Allocation table: one share per layer, with commas.")
    compensate: Literal["none", "bias", "weights"] = option(
        "none",
        "Patterns heads, channels: compensation for what is removed: none, bias (what it gave on average) or weights "
        "(those that are kept, moved by least squares).",
        shown="none; without --method weights",
    )
    quantize: Literal["none", "int8", "int4"] = option("none", QUANTIZE)
    quantize_by: Literal["solver", "rounding"] = option("solver", QUANTIZE_BY)
    heads: tuple[tuple[int, int], ...] | None = option(
        None, "Method heads: exactly these instead of the most unstable, as LAYER.HEAD,LAYER.HEAD."
    )
    run: str | None = option(None, HEADS_RUN, reads="run")
    duplicates: Literal["keep_one", "ignore"] = option("keep_one", DUPLICATES)

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
        ranks = METHODS[self.method].ranks_heads
        if self.method != "heads" and self.heads is not None:
            raise InvalidInput(f"heads belong to method 'heads', not to '{self.method}'; leave them out.")
        if self.run is not None and not ranks and self.pattern != "heads" and self.allocation != "instability":
            raise InvalidInput(
                "run belongs to methods 'heads' and 'measured', pattern 'heads' and allocation 'instability'; leave it "
                "out."
            )
        if self.quantize == "none" and self.quantize_by != "solver":
            raise InvalidInput("quantize_by belongs to quantize; give that too, or leave it out.")
        if self.method == "measured" and self.run is None:
            raise InvalidInput("method 'measured' needs the run of a measurement: make one with `sap ablate heads`.")
        decides_heads = self.pattern == "heads" or (ranks and self.heads is None)
        if self.duplicates == "ignore" and not decides_heads:
            raise InvalidInput(
                f"duplicates concerns heads, which method '{self.method}' with pattern {self.pattern} does not remove; "
                "leave it out."
            )
        return self


class PruneCheckpointSpec(PruneSpec):
    """Prune from files to files, one block in memory at a time, for models that do not fit the memory.

    It continues where it was interrupted; see `sap_core.prune_checkpoint` for what can be pruned this way.
    """

    kind: Literal["prune_checkpoint"] = "prune_checkpoint"  # type: ignore[assignment]
    out: str = option(help="Folder of the checkpoint; must not exist unless it may be replaced.", reads="file")
    overwrite: bool = option(False, OVERWRITE)
    verify: bool = option(True, VERIFY, shown="verify")

    @model_validator(mode="after")
    def _measures_nothing(self) -> PruneCheckpointSpec:
        if self.text is not None:
            raise InvalidInput("text: a streamed pruning measures no quality; leave it out and use `sap evaluate`.")
        if self.quantize != "none":
            raise InvalidInput("quantize: a streamed pruning keeps the precision of the weights; leave it out.")
        return self

    @property
    def pruning(self) -> PruneSpec:
        """The pruning without the output folder: the spec that the checkpoint's manifest keeps."""
        return PruneSpec.build(**{name: getattr(self, name) for name in PruneSpec.model_fields if name != "kind"})
