"""Three strategies of pruning: direct, progressive within a budget, or a search. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Preset:
    """A target on the measured speed-quality curve.

    Of all shapes on the curve the one with the least (1 + drop)^quality * cost is taken, where drop is the rise of the
    loss and cost is time or bytes, both as fractions of the dense model's. So ``quality`` is an exchange rate: 1 % more
    loss must save at least ``quality`` % of the cost. Another model, or another machine, has another curve and another
    point.
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
    """Return the strategy of some fields: search (a preset or target_speedup), progressive (a budget), or direct.

    Fields that are None count as not given.
    """
    if fields.get("preset") is not None or fields.get("target_speedup") is not None:
        return "search"
    return "direct" if fields.get("budget") is None else "progressive"
