"""Many prunings of one model, measured alike: a grid of cells, a folder that resumes, a table, two executors.

`grid`, `folder`, `table` and `tradeoff` do not import torch, so a page can follow a sweep that is still running.
"""

from importlib import import_module

_HOME = {
    "sweep": "verb",
    "make_grid": "grid",
    "sweep_table": "table",
    "summarise": "table",
    "paired_difference": "table",
    "frontier": "tradeoff",
    "best_plans": "tradeoff",
    "measured_plans": "measured",
    "predict_loss": "predict",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
