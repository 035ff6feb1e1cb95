"""Data of the replay: a whole denoising run, sent once and played in the browser."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from .quantity import QUANTITIES, Quantity, share_levels
from .theme import CASING, CURSOR, FRONTIER, PATH, palette
from .theme import SINK as SINK_RING
from .view import View, printable

MASKED, ACCEPTED, SINK = 1, 2, 4
MAX_CELLS = 400_000  # 0.4 MB of levels of each quantity, 0.4 MB of states, 0.8 MB of words before base64


def replay_data(view: View, *, step: int = 0, quantity: Quantity | None = None, fit: bool = False) -> dict[str, Any]:
    """Return a JSON-able dict; the arrays are base64, row-major (T, S).

    ``levels``: uint8 of `share_levels`, the colours of the text. ``maps``: per quantity that the view has, its levels
    in its own range, that range, and its ticks (on its axis). ``quantity``, ``fit``: what the map begins with.
    ``states``: uint8 bits MASKED, ACCEPTED, SINK. ``words``: uint16 indices into ``vocabulary``. A run with more than
    MAX_CELLS cells keeps every k-th step, the last included; ``steps`` holds the true step numbers.
    """
    stride = -(-view.share.size // MAX_CELLS)
    kept = np.unique(np.append(np.arange(0, view.steps, stride), view.steps - 1))
    tokens = view.tokens[kept]
    ids, distinct = np.unique(tokens, return_inverse=True)
    states = MASKED * view.masked[kept] + ACCEPTED * view.accepted[kept] + SINK * view.sinks[kept]
    maps = [row for row in QUANTITIES.values() if row.name == "attention" or view.sink_rate is not None]
    return {
        "maps": [
            {
                "name": row.name,
                "title": row.title,
                "unit": row.unit,
                "low": row.low,
                "high": row.high,
                "logarithmic": row.logarithmic,
                "ticks": [[place, text] for place, text in row.ticks.items()],
                "levels": _encode(row.scale().levels(row.values(view)[kept])),
            }
            for row in maps
        ],
        "quantity": (quantity or maps[0]).name,
        "fit": fit,
        "steps": kept.tolist(),
        "positions": view.positions,
        "levels": _encode(share_levels(view.times_even[kept])),
        "states": _encode(states.astype(np.uint8)),
        "words": _encode(distinct.reshape(tokens.shape).astype("<u2")),
        "vocabulary": [printable(view.pieces.get(int(token), f"#{token}")) for token in ids],
        "spaced": not any(text.startswith((" ", "▁", "Ġ")) for text in view.pieces.values()),
        "path": view.path[kept].tolist(),
        "prompt": int(view.prompt.sum()),
        "label": view.label,
        "causal": view.objective == "autoregressive",
        "start": int(np.argmin(np.abs(kept - step))),
        "colours": [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in palette()],
        "overlay": {"path": PATH, "sink": SINK_RING, "written": FRONTIER, "cursor": CURSOR, "casing": CASING},
    }


def _encode(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
