"""What a pruning will remove, matrix by matrix, known in milliseconds and before anything is touched. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ...choices.allocations import ALLOCATIONS
from ...choices.methods import AUTO, BLOCK, METHODS, Pattern, parse_pattern
from ...choices.strategies import PRESETS
from ...errors import InvalidInput
from ...models.resizing.units import (
    Shape,
    how_it_loads,
    layer_units,
    remaining_shape,
    removed_weights,
    shared_out,
    supported_units,
    units_gone,
)
from ...specs import ProgressivePruneSpec, PruneOptions, PruneSpec, SearchPruneSpec
from .allocation import exact_zeros, layer_sparsities
from .redundant_heads import KEEP_ONE, Group, first_allowed

if TYPE_CHECKING:
    import pandas as pd

    from ...models.info import ModelInfo


@dataclass(frozen=True)
class PlannedMatrix:
    """One weight matrix: ``rows`` outputs, ``cols`` inputs; ``zeros`` of its weights go."""

    name: str
    layer: int
    rows: int
    cols: int
    sparsity: float
    zeros: int


@dataclass(frozen=True)
class PruningPlan:
    """What will go. ``pending`` says what is only decided when the pruning starts; empty when nothing is open.

    ``measured``: the value of each layer that the allocation followed (higher: keep more), where it is a measured one.
    ``shape``: layers, heads, kv_heads and ffn that are left where whole units are taken out, else None (of the widest
    layer where ``layer_shapes``, the (kv_heads, ffn) of every layer, says that they differ); ``loads``: what then loads
    an export. ``taken``: what a search took out, (unit, share) in this order.
    """

    method: str
    pattern: str
    sparsity: float
    compare: str
    matrices: tuple[PlannedMatrix, ...]
    heads: tuple[tuple[int, int], ...] = ()
    parameters: int = 0
    pending: str = ""
    allocation: str = "uniform"
    measured: tuple[float, ...] = ()
    shape: dict[str, int] | None = None
    loads: str = ""
    layer_shapes: tuple[tuple[int, int], ...] = ()
    taken: tuple[tuple[str, float], ...] = ()

    def left(self) -> Shape | None:
        """What is left where whole units are taken out, else None."""
        return None if self.shape is None else Shape(**self.shape, per_layer=self.layer_shapes)

    def totals(self) -> dict[str, float]:
        """Weights considered, weights that go, their share, and the share of all the model's parameters."""
        weights = sum(m.rows * m.cols for m in self.matrices)
        zeros = sum(m.zeros for m in self.matrices)
        return {
            "weights": weights,
            "zeros": zeros,
            "sparsity": zeros / weights if weights else 0.0,
            "of_all_parameters": zeros / self.parameters if self.parameters else 0.0,
            "heads": len(self.heads),
        }

    def per_layer(self) -> pd.DataFrame:
        """Columns layer, weights, zeros, sparsity, heads (heads removed), one row per layer."""
        import pandas as pd

        rows: dict[int, dict[str, float]] = {}
        for m in self.matrices:
            row = rows.setdefault(m.layer, {"layer": m.layer, "weights": 0, "zeros": 0})
            row["weights"] += m.rows * m.cols
            row["zeros"] += m.zeros
        for layer, row in rows.items():
            row["sparsity"] = row["zeros"] / row["weights"]
            row["heads"] = sum(1 for where, _ in self.heads if where == layer)
        return pd.DataFrame(list(rows.values()), columns=["layer", "weights", "zeros", "sparsity", "heads"])

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `from_dict` takes it back."""
        return asdict(self) | {"heads": [list(head) for head in self.heads], "totals": self.totals()}

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> PruningPlan:
        """The plan `to_dict` wrote.

        Raises:
            InvalidInput: something is missing or unknown.
        """
        fields = {key: value for key, value in document.items() if key != "totals"}
        try:
            fields["matrices"] = tuple(PlannedMatrix(**m) for m in fields["matrices"])
            fields["heads"] = tuple((int(layer), int(head)) for layer, head in fields.get("heads", ()))
            fields["measured"] = tuple(fields.get("measured", ()))
            fields["layer_shapes"] = tuple((int(kv), int(ffn)) for kv, ffn in fields.get("layer_shapes", ()))
            fields["taken"] = tuple((str(unit), float(share)) for unit, share in fields.get("taken", ()))
            return cls(**fields)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"not a pruning plan ({error}); expected what PruningPlan.to_dict() writes.") from None


def make_plan(
    info: ModelInfo,
    spec: PruneOptions,
    ranking: pd.DataFrame | None = None,
    measured: Sequence[float] | None = None,
    groups: Sequence[Group] = (),
) -> PruningPlan:
    """What ``spec`` will remove from the model ``info`` describes.

    ``ranking``: method `heads` only, the table of `sap_core.rank_heads`. Without it (and without chosen heads) the
    plan says how many heads go and that which ones is ``pending``.
    ``measured``: one value per layer for the allocations that follow a measurement; without it the plan is uniform
    and ``pending`` says what will be measured.
    ``groups``: method `heads` only, near-duplicate heads of which the last stays unless the spec ignores them.

    Raises:
        ModelProblem: a model of a kind that can't be pruned; says why.
        InvalidInput: the pattern does not divide a matrix, a head that does not exist, a ranking of another model.
    """
    info.check_prunable()
    if isinstance(spec, SearchPruneSpec):
        return _open_plan(info, spec)
    if isinstance(spec, PruneSpec) and parse_pattern(spec.pattern).unit:
        return _unit_plan(info, spec, measured)
    if isinstance(spec, PruneSpec) and spec.method == "heads":
        return _head_plan(info, spec, ranking, groups if spec.duplicates == KEEP_ONE else ())
    method, pattern = METHODS[spec.method], parse_pattern(spec.pattern)
    compare = method.compare if spec.compare == AUTO else spec.compare
    for matrix in info.matrices:
        check_pattern(matrix.name, matrix.cols, pattern)
    allocation, pending = "uniform", ""
    if isinstance(spec, PruneSpec):
        allocation, needs = spec.allocation, ALLOCATIONS[spec.allocation].needs
        pending = "" if measured is not None or not needs else f"how much each layer loses, after measuring {needs}"
    elif isinstance(spec, ProgressivePruneSpec):
        pending = f"how hard each layer is pruned, at most as here, by the loss after it (budget {spec.budget:.1%})"
    if allocation == "uniform" or pending:
        sparsities = [spec.sparsity] * len(info.matrices)
        zeros = [planned_zeros(m.rows, m.cols, spec.sparsity, pattern, compare) for m in info.matrices]
    else:
        sparsities = _allocated(info, spec, measured)
        sizes = [m.rows * m.cols for m in info.matrices]
        zeros = exact_zeros(sizes, sparsities, round(sum(sizes) * spec.sparsity))
    rows = tuple(
        PlannedMatrix(m.name, m.layer, m.rows, m.cols, sparsity, count)
        for m, sparsity, count in zip(info.matrices, sparsities, zeros, strict=True)
    )
    return PruningPlan(
        spec.method,
        spec.pattern,
        spec.sparsity,
        compare,
        rows,
        parameters=info.parameters,
        pending=pending,
        allocation=allocation,
        measured=tuple(measured or ()),
    )


def _open_plan(info: ModelInfo, spec: SearchPruneSpec) -> PruningPlan:
    """A search decides everything; what can be said is on what it will decide."""
    rows = tuple(PlannedMatrix(m.name, m.layer, m.rows, m.cols, 0.0, 0) for m in info.matrices)
    wish = PRESETS[spec.preset].title.lower() if spec.preset else f"{spec.target_speedup:g} x as fast"
    units = supported_units(info)
    if not units:
        raise InvalidInput(
            f"no heads, channels or layers can be taken out of {info.title}, so nothing makes it faster here; prune "
            "its weights without a preset or target_speedup."
        )
    return PruningPlan(
        spec.method,
        "+".join(units),
        0.0,
        "unit",
        rows,
        parameters=info.parameters,
        pending=f"how many {', '.join(units)} go, by measuring speed and loss of each shape on this machine ({wish})",
        loads="stock transformers",
    )


def _unit_plan(info: ModelInfo, spec: PruneSpec, measured: Sequence[float] | None) -> PruningPlan:
    """Which units go is decided by their scores, like the weights of other patterns; how many is known."""
    unit, row = spec.pattern, ALLOCATIONS[spec.allocation]
    gone = units_gone(info, unit, spec.sparsity)
    pending = ""
    if measured is None and row.needs:
        pending = f"how many {unit} each layer loses, after measuring {row.needs}"
    elif spec.allocation != "uniform":
        gone = _units_allocated(info, spec, gone, measured)
    biases = spec.compensate == "bias" or spec.method == "flap"
    shape = remaining_shape(info, unit, gone, biases)
    counts = [info.layers] if unit == "layers" else layer_units(info, unit)
    rows = []
    for m in info.matrices:
        place = 0 if unit == "layers" else m.layer
        zeros = removed_weights(m.kind, m.rows, m.cols, unit, gone[place] / counts[place])
        rows.append(PlannedMatrix(m.name, m.layer, m.rows, m.cols, zeros / (m.rows * m.cols), zeros))
    sizes = {name: value for name, value in asdict(shape).items() if name != "per_layer"}
    # Told before choosing: what is still to be measured gives layers of different widths.
    apart = replace(shape, per_layer=shape.per_layer or ((shape.kv_heads, shape.ffn),)) if pending else shape
    return PruningPlan(
        spec.method,
        unit,
        spec.sparsity,
        unit,
        tuple(rows),
        parameters=info.parameters,
        pending=pending,
        allocation=spec.allocation,
        measured=tuple(measured or ()),
        shape=sizes,
        loads=how_it_loads(info, apart),
        layer_shapes=shape.per_layer,
    )


def _units_allocated(
    info: ModelInfo, spec: PruneSpec, uniform: list[int], measured: Sequence[float] | None
) -> list[int]:
    """Units that leave each layer: as many in all as with the uniform allocation, at least one stays everywhere."""
    if spec.allocation == "global":
        return [int(count) for count in measured]
    counts = layer_units(info, spec.pattern)
    shares = layer_sparsities(
        spec.allocation,
        counts,
        sum(uniform) / sum(counts),
        width=spec.allocation_width,
        values=measured,
        table=spec.allocation_table,
    )
    return shared_out(counts, shares, sum(uniform))


def _allocated(info: ModelInfo, spec: PruneSpec, measured: Sequence[float] | None) -> list[float]:
    """The sparsity of every matrix: that of its layer."""
    layers = sorted({m.layer for m in info.matrices})
    sizes = [sum(m.rows * m.cols for m in info.matrices if m.layer == layer) for layer in layers]
    shares = layer_sparsities(
        spec.allocation,
        sizes,
        spec.sparsity,
        width=spec.allocation_width,
        values=measured,
        table=spec.allocation_table,
    )
    of_layer = dict(zip(layers, shares, strict=True))
    return [of_layer[m.layer] for m in info.matrices]


def planned_zeros(rows: int, cols: int, sparsity: float, pattern: Pattern, compare: str) -> int:
    """How many weights of a matrix go.

    Per row int(cols * s); per matrix, and per block of 128 inputs, the published rule "everything not above the
    weight at rank int(size * s)", which is one weight more; N of every M in a pattern.
    """
    if pattern.structured:
        return rows * (cols // pattern.m) * pattern.n
    if sparsity == 0:
        return 0
    if compare == "row":
        return rows * int(cols * sparsity)
    width = cols if compare == "matrix" else BLOCK
    return sum(int(rows * min(width, cols - start) * sparsity) + 1 for start in range(0, cols, width))


def check_pattern(name: str, cols: int, pattern: Pattern) -> None:
    """InvalidInput if the inputs of a matrix can't be cut into whole groups of M."""
    if pattern.structured and cols % pattern.m:
        raise InvalidInput(
            f"pattern {pattern.n}:{pattern.m} needs inputs in whole groups of {pattern.m} but {name} has {cols}; "
            "use an M that divides it, or pattern unstructured."
        )


def _head_plan(info: ModelInfo, spec: PruneSpec, ranking: pd.DataFrame | None, groups: Sequence[Group]) -> PruningPlan:
    outputs = {m.layer: m for m in info.matrices if m.kind == "o"}
    if not outputs:
        raise InvalidInput(f"method 'heads' is not supported for {info.title}: its attention output is not known.")
    count = int(info.layers * info.heads * spec.sparsity)
    pending = ""
    if spec.heads is not None:
        heads = _checked(spec.heads, info)
    elif ranking is not None:
        heads = _most_unstable(ranking, info, count, groups)
    else:
        heads, pending = (), f"{count} heads, chosen by their instability in a capture run on the demo prompt"
    rows = []
    for layer, m in outputs.items():
        gone = sum(1 for where, _ in heads if where == layer) * info.head_dim
        rows.append(PlannedMatrix(m.name, layer, m.rows, m.cols, gone / m.cols, m.rows * gone))
    return PruningPlan(
        "heads", spec.pattern, spec.sparsity, "head", tuple(rows), tuple(heads), info.parameters, pending
    )


def _checked(heads: Iterable[tuple[int, int]], info: ModelInfo) -> list[tuple[int, int]]:
    chosen = sorted({(int(layer), int(head)) for layer, head in heads})
    for layer, head in chosen:
        if not (0 <= layer < info.layers and 0 <= head < info.heads):
            raise InvalidInput(
                f"head {head} of layer {layer} does not exist; layers are 0 to {info.layers - 1}, "
                f"heads 0 to {info.heads - 1}."
            )
    return chosen


def _most_unstable(
    ranking: pd.DataFrame, info: ModelInfo, count: int, groups: Sequence[Group]
) -> list[tuple[int, int]]:
    """The first ``count`` of the ranking, but never the last head of a layer: a layer without attention is a
    different intervention, which has to be chosen head by head; and never the last of a group of duplicates."""
    ranked = [(int(row.layer), int(row.head)) for row in ranking.sort_values("rank").itertuples()]
    if set(ranked) != {(layer, head) for layer in range(info.layers) for head in range(info.heads)}:
        raise InvalidInput(
            f"the ranking has {len(ranked)} heads but {info.ref} has {info.layers} layers of {info.heads}; "
            "use a capture run of the same model."
        )
    return sorted(first_allowed(ranked, count, dict.fromkeys(range(info.layers), info.heads), groups))
