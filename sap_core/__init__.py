"""Sink-Aware Pruning Studio: see attention sinks move through a denoising run, prune what is unstable, keep the result.

The names below are the public API; each is imported when it is first used, so that ``import sap_core`` costs nothing
and parts that need no model never import torch.
"""

from __future__ import annotations

import importlib
from typing import Any

from ._version import __version__

_HOME = {
    "load_model": "models",
    "inspect_model": "models",
    "capture": "capture.verb",
    "capture_each": "sweeps.captures",
    "attention_map": "capture.attention_map",
    "open_run": "runs",
    "list_runs": "runs",
    "delete_run": "runs",
    "find_sinks": "sinks",
    "sink_summary": "sinks",
    "rank_heads": "sinks",
    "compare_runs": "sinks",
    "plan_pruning": "pruning",
    "prune": "pruning",
    "prune_progressively": "pruning",
    "prune_checkpoint": "export",
    "SinkAwarePruner": "pruning",
    "evaluate": "evaluation.verb",
    "export_checkpoint": "export",
    "export_elastic": "export",
    "push_checkpoint": "export",
    "verify_checkpoint": "export",
}

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sap_core' has no attribute {name!r}; public names: {', '.join(sorted(_HOME))}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
