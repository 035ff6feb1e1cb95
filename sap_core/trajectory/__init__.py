"""What a capture leaves behind: a labelled array over (step, layer, head, position), kept as zarr. No torch here."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "TrajectoryWriter": "store",
    "open_trajectory": "store",
    "synthetic_trajectory": "synthetic",
    "received_by": "access",
    "by_layer": "access",
    "trajectories_of": "access",
    "visibility": "access",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
