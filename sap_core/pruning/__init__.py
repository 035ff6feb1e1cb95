"""What to remove and how: methods by name, plans, calibration data, scores, masks, and their application to a model.

`methods` and `plan` do not import torch, so a page can show a plan at once; the rest is loaded on first use.
"""

from importlib import import_module

_HOME = {
    "METHODS": "methods",
    "PruningPlan": "plan",
    "make_plan": "plan",
    "Pruned": "apply",
    "plan_pruning": "apply",
    "prune": "apply",
    "NoSuchPlan": "search",
    "SinkAwarePruner": "pruner",
    "prune_progressively": "progressive",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
