"""From a path or Hub id to one `LoadedModel`, whatever the family. Families are rows of a table plus small adapters.

`inspect_model` and the table of families need no torch; everything is imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "FAMILIES": "families",
    "Family": "family",
    "LoadedModel": "loaded",
    "Matrix": "info",
    "ModelInfo": "info",
    "chat_text": "chat",
    "estimate_memory": "memory",
    "families_table": "families",
    "fits": "memory",
    "inspect_model": "info",
    "load_model": "loading",
    "register_family": "families",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
