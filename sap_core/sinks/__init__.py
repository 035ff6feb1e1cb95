"""What a sink is, how it moves, how unstable a head is, how two runs differ. Arrays in, arrays out; no torch here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "SINK_RULES": "rules",
    "find_sinks": "rules",
    "soft_sinks": "rules",
    "COMPONENTS": "instability",
    "duplicate_heads": "duplicates",
    "rank_heads": "instability",
    "sink_summary": "summary",
    "Comparison": "compare",
    "compare_runs": "compare",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
