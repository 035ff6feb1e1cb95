"""Make the cells of a sweep from its lists, with every error that can be found before any work. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from ..choices.allocations import ALLOCATIONS, looks_at_texts
from ..choices.methods import METHODS
from ..choices.patterns import parse_pattern
from ..errors import InvalidInput, UnknownOption
from ..pruning.planning.make_plan import make_plan
from ..specs import (
    CalibrationOptions,
    ModelOptions,
    PruneSpec,
    SweepSpec,
)
from .presets import PRESETS

if TYPE_CHECKING:
    from ..models.info import ModelInfo

DENSE = "dense"
_SHOWN = 5


@dataclass(frozen=True)
class Cell:
    """One thing to measure: the model as ``spec`` prunes it, or (``spec`` None) the dense model.

    ``id`` is its file's name. Cells of one ``group`` share the calibration results that a loaded model caches.
    """

    id: str
    spec: PruneSpec | None
    group: str


@dataclass(frozen=True)
class Skipped:
    """An invalid combination and the reason; only where the sweep asks to skip such."""

    id: str
    reason: str


@dataclass(frozen=True)
class Grid:
    """The cells of a sweep: ``cells`` in the order in which they are best run, the dense model first."""

    cells: tuple[Cell, ...]
    skipped: tuple[Skipped, ...]


def make_grid(spec: SweepSpec, info: ModelInfo | None = None) -> Grid:
    """Return the cells of a sweep: every method or variant with every pattern, sparsity, order, allocation and seed.

    Two lists are shortened where they would only repeat: an N:M pattern fixes the sparsity, so it makes one cell per
    seed; a method that draws nothing at random runs for the first seed alone.

    Args:
        spec: The sweep.
        info: Of the model; if given, each cell is also checked against it (patterns that divide its matrices, methods
            that fit its objective).

    Raises:
        InvalidInput: invalid combinations, unless ``skip_invalid``; no cell at all; a value given twice.
    """
    for axis in ("methods", "patterns", "sparsities", "orders", "allocations", "compensations", "seeds"):
        _check_distinct(axis, getattr(spec, axis))
    cells: list[Cell] = []
    skipped: list[Skipped] = []
    for fields in _combinations(spec):
        name = _readable(fields)
        try:
            pruning = PruneSpec.build(**_shared(spec), **fields)
            if info is not None:
                check_cell(info, pruning)
        except InvalidInput as error:
            skipped.append(Skipped(name, str(error)))
            continue
        cells.append(Cell(name, pruning, _group(fields)))
    if skipped and not spec.skip_invalid:
        raise InvalidInput(_refusal(skipped, len(cells) + len(skipped)))
    if not cells:
        raise InvalidInput(f"no combination of this sweep is valid; the first reason: {skipped[0].reason}")
    return Grid((Cell(DENSE, None, DENSE), *cells), tuple(skipped))


def check_cell(info: ModelInfo, spec: PruneSpec) -> None:
    """Raise InvalidInput if the model that ``info`` describes can't be pruned as ``spec`` says; takes milliseconds."""
    method = METHODS[spec.method]
    if method.needs_mask_token and info.objective == "autoregressive" and method.sinks == "none":
        raise InvalidInput(
            f"method '{method.name}' masks parts of the text, which an autoregressive model never sees; use wanda."
        )
    make_plan(info, spec)


def seeds_of(spec: SweepSpec, pruning: PruneSpec | None) -> tuple[int, ...]:
    """Return the seeds of the sweep that a cell stands for: its own, or all if nothing in it is drawn at random."""
    if pruning is None or not _draws_at_random(pruning.method, pruning.allocation, pruning.compensate):
        return spec.seeds
    return (pruning.seed,)


def _combinations(spec: SweepSpec) -> Iterator[dict[str, Any]]:
    """Yield what differs between cells, as fields of `PruneSpec`."""
    for variant in _variants(spec):
        allocation, compensate = variant.get("allocation", "uniform"), variant.get("compensate", "none")
        drawn = _draws_at_random(variant["method"], allocation, compensate)
        for seed in spec.seeds if drawn else spec.seeds[:1]:
            for pattern in (variant["pattern"],) if "pattern" in variant else spec.patterns:
                parsed = parse_pattern(pattern)
                for sparsity in (parsed.n / parsed.m,) if parsed.structured else spec.sparsities:
                    yield {**variant, "pattern": pattern, "sparsity": sparsity, "seed": seed}


def _variants(spec: SweepSpec) -> list[dict[str, Any]]:
    """Return the methods or the preset's variants, each in every order, allocation and compensation.

    Fields at their default are left out.
    """
    variants = []
    for variant in _bases(spec):
        for order, allocation, compensate in product(spec.orders, spec.allocations, spec.compensations):
            named = variant | {"order": order, "allocation": allocation, "compensate": compensate} | variant
            defaults = {name: PruneSpec.model_fields[name].default for name in named}
            told = ("method", "pattern")
            variants.append({name: value for name, value in named.items() if name in told or value != defaults[name]})
    return variants


def _bases(spec: SweepSpec) -> list[dict[str, Any]]:
    if spec.preset is None:
        for method in spec.methods:
            if method not in METHODS:
                raise UnknownOption("method", method, METHODS)
        return [{"method": method} for method in spec.methods]
    if spec.preset not in PRESETS:
        raise UnknownOption("preset", spec.preset, PRESETS)
    return [dict(variant) for variant in PRESETS[spec.preset]]


def _draws_at_random(method: str, allocation: str, compensate: str) -> bool:
    """Return whether the result depends on the seed: through calibration texts, noise, or the method's own draws."""
    known = allocation if allocation in ALLOCATIONS else "uniform"  # any other is refused with its cell
    return looks_at_texts(method, known, compensate) or METHODS[method].score != "magnitude"


def _shared(spec: SweepSpec) -> dict[str, Any]:
    """Return the fields that all cells have in common."""
    return {name: getattr(spec, name) for name in (*ModelOptions.model_fields, *CalibrationOptions.model_fields)}


def _readable(fields: dict[str, Any]) -> str:
    """Return a file name that describes the cell: sink-unstructured-0.5-s0."""
    fields = dict(fields)
    first = [str(fields.pop("method")), fields.pop("pattern").replace(":", "of"), f"{fields.pop('sparsity'):g}"]
    seed = fields.pop("seed")
    options = [f"{name}={value}" for name, value in sorted(fields.items())]
    return "-".join([*first, *options, f"s{seed}"]).replace("/", "_")


def _group(fields: dict[str, Any]) -> str:
    apart = ("pattern", "sparsity", "allocation", "compensate")
    return "-".join(str(value) for name, value in sorted(fields.items()) if name not in apart)


def _check_distinct(axis: str, values: tuple[Any, ...]) -> None:
    twice = {value for value in values if values.count(value) > 1}
    if twice:
        raise InvalidInput(f"{axis} lists {', '.join(map(str, sorted(twice)))} more than once; give each value once.")


def _refusal(skipped: list[Skipped], total: int) -> str:
    shown = " ".join(f"{one.id}: {one.reason}" for one in skipped[:_SHOWN])
    more = f" ({len(skipped) - _SHOWN} more like these.)" if len(skipped) > _SHOWN else ""
    return (
        f"{len(skipped)} of {total} combinations can't be: {shown}{more} "
        "Take them out of the lists, or ask to skip what can't be (skip_invalid, --skip-invalid)."
    )
