"""Make the plan of a pruning from a spec and the shapes of a model. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from ...choices.allocations import ALLOCATIONS
from ...choices.methods import AUTO, BLOCK, METHODS
from ...choices.patterns import Pattern, parse_pattern
from ...choices.strategies import PRESETS
from ...errors import InvalidInput, required
from ...models.resizing.units import (
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
from .plan import PlannedMatrix, PruningPlan
from .redundant_heads import KEEP_ONE, Group, first_allowed

if TYPE_CHECKING:
    import pandas as pd

    from ...models.info import ModelInfo


def make_plan(
    info: ModelInfo,
    spec: PruneOptions,
    ranking: pd.DataFrame | None = None,
    measured: Sequence[float] | None = None,
    groups: Sequence[Group] = (),
) -> PruningPlan:
    """Return the plan of what ``spec`` removes from the model that ``info`` describes.

    Args:
        info: Shapes and names of the model.
        spec: The settings.
        ranking: Methods that rank heads only: a table with layer, head and rank, such as that of `sap_core.rank_heads`.
            Without it (and without chosen heads) the plan has the number of heads, and ``pending`` says that the choice
            is open.
        measured: One value per layer for allocations that follow a measurement; without it the plan is uniform and
            ``pending`` says what will be measured.
        groups: Method `heads` only: near-duplicate heads, the last of which is kept unless the spec ignores them.

    Raises:
        ModelProblem: a model of a kind that can't be pruned; says why.
        InvalidInput: the pattern does not divide a matrix, a head that does not exist, a ranking of another model.
    """
    info.check_prunable()
    if isinstance(spec, SearchPruneSpec):
        return _open_plan(info, spec)
    if isinstance(spec, PruneSpec) and parse_pattern(spec.pattern).unit:
        return _unit_plan(info, spec, measured)
    if isinstance(spec, PruneSpec) and METHODS[spec.method].ranks_heads:
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
        direct: Any = spec  # only a direct pruning allocates
        sparsities = _allocated(info, direct, measured)
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
    """Return the plan of a search before it has run: nothing but what the search will decide."""
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
    """Return the plan of whole units: how many are removed is known, which ones depends on their scores."""
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
        group = 0 if unit == "layers" else m.layer
        share = gone[group] / counts[group] if counts[group] else 0.0
        zeros = removed_weights(m.name, m.kind, m.rows, m.cols, unit, share)
        rows.append(PlannedMatrix(m.name, m.layer, m.rows, m.cols, zeros / (m.rows * m.cols), zeros))
    sizes = {
        name: value
        for name, value in asdict(shape).items()
        if (name, value) not in (("per_layer", shape.per_layer), ("experts", 0))
    }
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
    """Return the units removed from each layer: the uniform allocation's total, at least one kept in every layer."""
    if spec.allocation == "global":
        return [int(count) for count in required(measured, "the counts of units")]
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
    """Return the sparsity of every matrix, which is that of its layer."""
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
    """Return how many weights of a matrix are removed.

    Per row int(cols * s); per matrix, and per block of 128 inputs, the published rule "everything not above the weight
    at rank int(size * s)", which is one weight more; N of every M in a pattern.
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
    """Raise InvalidInput if the inputs of a matrix can't be divided into whole groups of M."""
    if pattern.structured and cols % pattern.m:
        raise InvalidInput(
            f"pattern {pattern.n}:{pattern.m} needs inputs in whole groups of {pattern.m} but {name} has {cols}; "
            "use an M that divides it, or pattern unstructured."
        )


def _head_plan(info: ModelInfo, spec: PruneSpec, ranking: pd.DataFrame | None, groups: Sequence[Group]) -> PruningPlan:
    outputs = {m.layer: m for m in info.matrices if m.kind == "o"}
    if not outputs:
        raise InvalidInput(
            f"method '{spec.method}' is not supported for {info.title}: its attention output is not known."
        )
    count = int(len(info.attention_layers) * info.heads * spec.sparsity)
    pending = ""
    if spec.heads is not None:
        heads = _checked(spec.heads, info)
    elif ranking is not None:
        heads = _first_to_go(ranking, info, count, groups)
    else:
        heads, pending = (), f"{count} heads, chosen by {_CHOSEN_BY[spec.method]}"
    rows = []
    for layer, m in outputs.items():
        gone = sum(1 for where, _ in heads if where == layer) * info.head_dim
        rows.append(PlannedMatrix(m.name, layer, m.rows, m.cols, gone / m.cols, m.rows * gone))
    return PruningPlan(
        spec.method, spec.pattern, spec.sparsity, "head", tuple(rows), tuple(heads), info.parameters, pending
    )


_CHOSEN_BY = {
    "heads": "their instability in a short text that the model writes",
    "measured": "their measured damage",
}


def _checked(heads: Iterable[tuple[int, int]], info: ModelInfo) -> list[tuple[int, int]]:
    chosen = sorted({(int(layer), int(head)) for layer, head in heads})
    for layer, head in chosen:
        if not (0 <= layer < info.layers and 0 <= head < info.heads):
            raise InvalidInput(
                f"head {head} of layer {layer} does not exist; layers are 0 to {info.layers - 1}, "
                f"heads 0 to {info.heads - 1}."
            )
        if layer not in info.attention_layers:
            there = ", ".join(map(str, info.attention_layers)) or "none"
            raise InvalidInput(f"layer {layer} of {info.ref} has no attention with heads; layers that have: {there}.")
    return chosen


def _first_to_go(ranking: pd.DataFrame, info: ModelInfo, count: int, groups: Sequence[Group]) -> list[tuple[int, int]]:
    """Return the first ``count`` heads of the ranking that may be removed.

    The last head of a layer is never removed: a layer without attention is a different intervention, which has to be
    chosen head by head. Neither is the last head of a group of duplicates.
    """
    ranked = [(int(row.layer), int(row.head)) for row in ranking.sort_values("rank").itertuples()]
    layers = info.attention_layers
    if set(ranked) != {(layer, head) for layer in layers for head in range(info.heads)}:
        raise InvalidInput(
            f"the ranking has {len(ranked)} heads but {info.ref} has {len(layers)} layers with attention of "
            f"{info.heads} heads; use a capture run of the same model."
        )
    return sorted(first_allowed(ranked, count, dict.fromkeys(layers, info.heads), groups))
