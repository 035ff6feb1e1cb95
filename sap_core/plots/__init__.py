"""From a result to a figure: pure functions that return plotly figures, HTML, or the data of the replay.

No Streamlit and no torch here; a notebook draws with the same functions as the pages.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "make_view": "view",
    "View": "view",
    "trajectory_heatmap": "heatmap",
    "layer_multiples": "multiples",
    "head_grid": "heads",
    "component_bars": "heads",
    "step_lines": "lines",
    "frequency_bars": "lines",
    "plan_bars": "plan",
    "plan_matrices": "plan",
    "removed_heads": "plan",
    "attention_figure": "attention",
    "shaded_text": "shaded",
    "replay_data": "replay",
    "difference_heatmap": "compare",
    "type_heatmap": "token_types",
    "origin": "take",
    "save_figure": "take",
    "report": "reports",
    "CONFIG": "theme",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
