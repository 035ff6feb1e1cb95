"""Three ways to decide what goes: as asked, layer by layer within a budget, or by a search. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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


def strategy_of(fields: Mapping[str, Any]) -> str:
    """Return the strategy that fields stand for: search (a preset or target_speedup), progressive (a budget), direct.

    Fields that are None count as not given.
    """
    if fields.get("preset") is not None or fields.get("target_speedup") is not None:
        return "search"
    return "direct" if fields.get("budget") is None else "progressive"
