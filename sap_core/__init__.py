"""Sink-Aware Pruning Studio: see attention sinks move through a denoising run, prune what is unstable, keep the result.

The names below are the public API; each is imported when it is first used, so that ``import sap_core`` costs nothing
and parts that need no model never import torch.
"""

from __future__ import annotations

import importlib
from typing import Any

from ._version import __version__

_HOME = {
    "load_model": "models.loading",
    "inspect_model": "models.info",
    "capture": "capturing.api",
    "capture_each": "sweeps.captures",
    "attention_map": "capturing.attention_map",
    "record_attention": "attention.recorder",
    "open_run": "runs.reading",
    "list_runs": "runs.listing",
    "delete_run": "runs.listing",
    "find_sinks": "sinks.rules",
    "sink_summary": "sinks.summary",
    "rank_heads": "sinks.instability",
    "compare_runs": "sinks.compare",
    "plan_pruning": "pruning.api",
    "prune": "pruning.api",
    "prune_progressively": "pruning.strategies.progressive",
    "prune_checkpoint": "export.streamed",
    "SinkAwarePruner": "pruning.pruner",
    "evaluate": "evaluation.api",
    "export_checkpoint": "export.checkpoint",
    "export_elastic": "export.elastic",
    "push_checkpoint": "export.push",
    "verify_checkpoint": "export.verify",
}

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sap_core' has no attribute {name!r}; public names: {', '.join(sorted(_HOME))}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
