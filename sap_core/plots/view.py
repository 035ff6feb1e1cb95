"""One view of one trajectory: the arrays that the heatmap, the replay and the shaded text all draw from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from ..choices.sink_rules import SinkRule
from ..sinks.rules import find_sinks
from ..trajectory.access import layer_index, layers_of, received_by, visibility


@dataclass(frozen=True)
class View:
    """Attention of one head, or of a mean over heads or layers, with the text as of each step.

    Shapes: T steps, S positions. ``share`` sums to 1 over the positions that exist at a step; ``times_even`` is share
    times their number, so that 1 is an even share, NaN where a position does not exist yet. ``tokens`` are the ids
    after the step, ``masked`` says where nothing is written after it, ``accepted`` what was written at it.
    """

    share: np.ndarray  # float32 (T, S)
    times_even: np.ndarray  # float32 (T, S)
    path: np.ndarray  # int (T,), position with the most attention
    sinks: np.ndarray  # bool (T, S)
    tokens: np.ndarray  # int32 (T, S)
    masked: np.ndarray  # bool (T, S)
    accepted: np.ndarray  # bool (T, S)
    prompt: np.ndarray  # bool (S,)
    pieces: dict[int, str]
    label: str
    objective: str
    steps_total: int

    @property
    def steps(self) -> int:
        return self.share.shape[0]

    @property
    def positions(self) -> int:
        return self.share.shape[1]

    def piece(self, step: int, position: int) -> str:
        """Return the text at a position after a step; ``[mask]`` where nothing is written."""
        if self.masked[step, position]:
            return "[mask]"
        token = int(self.tokens[step, position])
        return self.pieces.get(token, f"#{token}")

    def frontier(self) -> np.ndarray:
        """Return the step at which each position was written, float (S,); NaN for the prompt and for what never was."""
        written = self.accepted.any(axis=0)
        return np.where(written, self.accepted.argmax(axis=0), np.nan)


def make_view(
    trajectory: xr.Dataset,
    layer: int | None = None,
    head: int | None = None,
    sinks: np.ndarray | SinkRule | None = None,
) -> View:
    """Return the view of ``layer`` and ``head``; None means the mean over all of them.

    Args:
        trajectory: see `sap_core.trajectory`; may be unfinished.
        sinks: the rule that says which positions are sinks, or bool (T, S); no sinks when left out.
    """
    share = received_by(trajectory, layer, head)
    queries, visible = visibility(trajectory)
    times_even, path = _relative(share, visible > 0)
    if isinstance(sinks, SinkRule):
        sinks = find_sinks(share, sinks, visible=visible, queries=queries)
    masked, accepted = trajectory["masked"].values, trajectory["accepted"].values
    return View(
        share=share,
        times_even=times_even,
        path=path,
        sinks=np.zeros(share.shape, bool) if sinks is None else sinks,
        tokens=trajectory["next_token"].values,
        masked=masked & ~accepted,
        accepted=accepted,
        prompt=trajectory["prompt"].values,
        pieces=pieces_of(trajectory),
        label=selection_label(layer, head),
        objective=trajectory.attrs["objective"],
        steps_total=int(trajectory.attrs["steps_total"]),
    )


def layer_views(trajectory: xr.Dataset, layers: np.ndarray, head: int | None = None) -> Iterator[View]:
    """`make_view` for each of ``layers``; the trajectory is read once for all of them."""
    exists = visibility(trajectory)[1] > 0
    text: View | None = None  # what all the layers share
    places = np.array([layer_index(trajectory, layer) for layer in layers.tolist()])
    for layer, share in zip(layers.tolist(), layers_of(trajectory, places, head), strict=True):
        if text is None:
            text = make_view(trajectory, layer, head)
        times_even, path = _relative(share, exists)
        yield replace(text, share=share, times_even=times_even, path=path, label=selection_label(layer, head))


def _relative(share: np.ndarray, exists: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares (T, S) in multiples of an even share, NaN where a position does not exist; and the dominant path."""
    count = exists.sum(axis=-1, keepdims=True)
    if exists.all():
        return share * count.astype(np.float32), share.argmax(axis=-1)
    return np.where(exists, share * count, np.nan).astype(np.float32), np.where(exists, share, -1).argmax(axis=-1)


def pieces_of(trajectory: xr.Dataset) -> dict[int, str]:
    """Token id -> text, for the ids that occur."""
    return {int(token): text for token, text in json.loads(trajectory.attrs["pieces"]).items()}


def selection_label(layer: int | None, head: int | None) -> str:
    """Return what is drawn, in words."""
    if layer is None and head is None:
        return "mean over all layers and heads"
    if head is None:
        return f"layer {layer}, mean over heads"
    if layer is None:
        return f"head {head}, mean over layers"
    return f"layer {layer}, head {head}"


def printable(piece: str) -> str:
    """Return a token's text with its white space made visible."""
    shown = piece.replace("\n", "↵").replace("\t", "⇥")
    return shown if shown.strip() else shown.replace(" ", "␣") or "∅"
