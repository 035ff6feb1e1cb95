"""Three ways to decide what goes: as asked, layer by layer within a budget, or by a search. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import InvalidInput
from .methods import METHODS, parse_pattern


@dataclass(frozen=True)
class Preset:
    """A wish about the measured curve of shapes.

    Of all shapes on the curve the one with the least (1 + drop)^quality * cost is taken, where drop is the rise of the
    loss as a share of the dense model's and cost is time or bytes as a share of the dense model's. So ``quality`` is an
    exchange rate: 1 % more loss must buy at least ``quality`` % less cost. Nothing about the point is fixed: another
    model, or another machine, has another curve and another point.
    """

    name: str
    title: str
    help: str
    cost: str
    quality: float


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("quality", "Quality first", "1 % more loss must buy at least 4 % less time.", "time", 4.0),
        Preset("balanced", "Balanced", "1 % more loss must buy at least 1 % less time.", "time", 1.0),
        Preset("speed", "Speed first", "1 % less time may cost up to 2 % more loss.", "time", 0.5),
        Preset("memory", "Memory first", "1 % fewer bytes may cost up to 2 % more loss.", "bytes", 0.5),
    )
}


def mode_of(*, budget: float | None, preset: str | None, target_speedup: float | None) -> str:
    """plain, progressive (a budget decides layer by layer), or search (a target or a preset decides what goes)."""
    if preset is not None or target_speedup is not None:
        return "search"
    return "plain" if budget is None else "progressive"


def check_mode(spec: Any) -> None:
    """Errors for fields of a `PruneSpec` that would do nothing, or that two modes claim.

    Raises:
        InvalidInput: what does not fit together, and what would.
    """
    unit = parse_pattern(spec.pattern).unit
    if spec.mode == "search":
        _check_search(spec)
    elif spec.quality_drop is not None:
        raise InvalidInput("quality_drop belongs to target_speedup; give that too, or budget for progressive pruning.")
    if spec.mode == "progressive" and (unit or spec.method == "heads" or spec.allocation != "uniform"):
        raise InvalidInput(
            "progressive pruning (budget) decides each layer's sparsity itself; it supports the patterns unstructured "
            f"and N:M with allocation uniform, not {spec.method} {spec.pattern} {spec.allocation}."
        )
    if spec.validation is not None and spec.budget is None:
        raise InvalidInput("validation belongs to progressive pruning; give a budget too, or leave it out.")
    if spec.duplicates == "ignore" and spec.mode != "search" and not removes_heads(spec):
        raise InvalidInput(
            f"duplicates concerns heads, which method '{spec.method}' with pattern {spec.pattern} does not remove; "
            "leave it out."
        )


def removes_heads(spec: Any) -> bool:
    """Whether whole heads go, and which ones is for the plan to decide."""
    return spec.pattern == "heads" or (spec.method == "heads" and spec.heads is None)


def _check_search(spec: Any) -> None:
    defaults = {name: field.default for name, field in type(spec).model_fields.items()}
    fixed = ("sparsity", "pattern", "compare", "order", "allocation", "compensate", "heads", "budget")
    given = [name for name in fixed if getattr(spec, name) != defaults[name]]
    if given:
        raise InvalidInput(
            f"a search (preset, target_speedup) finds what goes itself; leave out {', '.join(given)}, or the search."
        )
    if spec.preset is not None and (spec.target_speedup is not None or spec.quality_drop is not None):
        raise InvalidInput("give a preset, or target_speedup with quality_drop, not both.")
    if spec.method == "heads" or "channels" not in METHODS[spec.method].patterns:
        known = ", ".join(name for name, row in METHODS.items() if "channels" in row.patterns)
        raise InvalidInput(f"a search takes out heads, channels and layers, which needs a method of {known}.")
