"""Data of the replay: a whole denoising run, sent once and played in the browser."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from .reduce import share_levels
from .theme import (
    CASING,
    FRONTIER,
    PATH,
    SHARE_TICKS,
    palette,
)
from .view import View, printable

MASKED, ACCEPTED, SINK = 1, 2, 4
MAX_CELLS = 400_000  # 0.4 MB of levels, 0.4 MB of states, 0.8 MB of words before base64


def replay_data(view: View, *, step: int = 0) -> dict[str, Any]:
    """Return a JSON-able dict; the arrays are base64, row-major (T, S).

    ``levels``: uint8 of `share_levels`. ``states``: uint8 bits MASKED, ACCEPTED, SINK. ``words``: uint16 indices
    into ``vocabulary``. A run with more than MAX_CELLS cells keeps every k-th step, the last included; ``steps`` holds
    the true step numbers.
    """
    stride = -(-view.share.size // MAX_CELLS)
    kept = np.unique(np.append(np.arange(0, view.steps, stride), view.steps - 1))
    tokens = view.tokens[kept]
    ids, words = np.unique(tokens, return_inverse=True)
    states = MASKED * view.masked[kept] + ACCEPTED * view.accepted[kept] + SINK * view.sinks[kept]
    return {
        "steps": kept.tolist(),
        "positions": view.positions,
        "levels": _encode(share_levels(view.times_even[kept])),
        "states": _encode(states.astype(np.uint8)),
        "words": _encode(words.reshape(tokens.shape).astype("<u2")),
        "vocabulary": [printable(view.pieces.get(int(token), f"#{token}")) for token in ids],
        "spaced": not any(text.startswith((" ", "▁", "Ġ")) for text in view.pieces.values()),
        "path": view.path[kept].tolist(),
        "prompt": int(view.prompt.sum()),
        "label": view.label,
        "causal": view.objective == "autoregressive",
        "start": int(np.argmin(np.abs(kept - step))),
        "colours": [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in palette()],
        "ticks": {str(level): text for level, text in SHARE_TICKS.items()},
        "overlay": {"path": PATH, "casing": CASING, "frontier": FRONTIER},
    }


def _encode(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
