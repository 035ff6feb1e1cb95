"""One view of one trajectory: the arrays that heatmap, replay and shaded text draw."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from ..choices.sink_rules import SinkRule
from ..errors import InvalidInput
from ..sinks.rules import find_sinks
from ..sinks.sink_rate import layer_sink_rates, sink_rate
from ..trajectory.access import layer_index, layers_of, received_by, visibility


@dataclass(frozen=True)
class View:
    """Attention of one head, or of a mean over heads or layers, with the text as of each step.

    Shapes: T steps, S positions. ``share`` sums to 1 over the positions that exist at a step; ``times_even`` is share
    times their number, so that 1 is an even share, NaN where a position does not exist yet. ``tokens`` are the ids
    after the step, ``masked`` the positions not written after it, ``accepted`` those written at it.
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
    sink_rate: np.ndarray | None = None  # float32 (T, S), share of the heads meant by the label; NaN as times_even

    @property
    def steps(self) -> int:
        """Number of steps."""
        return self.share.shape[0]

    @property
    def positions(self) -> int:
        """Number of positions."""
        return self.share.shape[1]

    def piece(self, step: int, position: int) -> str:
        """Return the token text at a position after a step; ``[mask]`` if nothing is written there."""
        if self.masked[step, position]:
            return "[mask]"
        token = int(self.tokens[step, position])
        return self.pieces.get(token, f"#{token}")

    def frontier(self) -> np.ndarray:
        """Return the step at which each position was written, float (S,); NaN for the prompt and if never."""
        written = self.accepted.any(axis=0)
        return np.where(written, self.accepted.argmax(axis=0), np.nan)


def make_view(
    trajectory: xr.Dataset,
    layer: int | None = None,
    head: int | None = None,
    sinks: np.ndarray | SinkRule | None = None,
    *,
    with_sink_rate: bool = False,
) -> View:
    """Return the view of one layer and head.

    Args:
        trajectory: See `sap_core.trajectory`; may be unfinished.
        layer: By the model's number; None means the mean over all.
        head: None means the mean over all.
        sinks: The rule that says which positions are sinks, or bool (T, S); None for no sinks.
        with_sink_rate: Also compute the sink rate, which reads the attention of every head; ``sinks`` is then a rule.
    """
    rate = None
    if with_sink_rate:
        if not isinstance(sinks, SinkRule):
            raise InvalidInput(f"sinks is {sinks!r}; the sink rate needs a SinkRule, such as SinkRule('column_sum').")
        rate = sink_rate(trajectory, sinks, layer=layer, head=head)
    fraction = received_by(trajectory, layer, head)
    queries, visible = visibility(trajectory)
    times_even, path = _relative(fraction, visible > 0)
    if isinstance(sinks, SinkRule):
        sinks = find_sinks(fraction, sinks, visible=visible, queries=queries)
    masked, accepted = trajectory["masked"].values, trajectory["accepted"].values
    return View(
        share=fraction,
        times_even=times_even,
        path=path,
        sinks=np.zeros(fraction.shape, bool) if sinks is None else sinks,
        tokens=trajectory["next_token"].values,
        masked=masked & ~accepted,
        accepted=accepted,
        prompt=trajectory["prompt"].values,
        pieces=pieces_of(trajectory),
        label=selection_label(layer, head),
        objective=trajectory.attrs["objective"],
        steps_total=int(trajectory.attrs["steps_total"]),
        sink_rate=rate,
    )


def layer_views(
    trajectory: xr.Dataset, layers: np.ndarray, head: int | None = None, rule: SinkRule | None = None
) -> Iterator[View]:
    """Yield `make_view` of each of ``layers``; the trajectory is read once for all of them.

    ``rule``: also their sink rates, which reads the attention of every head.
    """
    exists = visibility(trajectory)[1] > 0
    text: View | None = None  # what all the layers share
    places = np.array([layer_index(trajectory, layer) for layer in layers.tolist()])
    rates = None if rule is None else layer_sink_rates(trajectory.isel(layer=places), rule, head)
    for layer, fraction in zip(layers.tolist(), layers_of(trajectory, places, head), strict=True):
        if text is None:
            text = make_view(trajectory, layer, head)
        times_even, path = _relative(fraction, exists)
        label, rate = selection_label(layer, head), None if rates is None else next(rates)
        yield replace(text, share=fraction, times_even=times_even, path=path, label=label, sink_rate=rate)


def _relative(share: np.ndarray, exists: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return attention (T, S) in multiples of an even share, NaN where no position exists; and the dominant path."""
    count = exists.sum(axis=-1, keepdims=True)
    if exists.all():
        return share * count.astype(np.float32), share.argmax(axis=-1)
    return np.where(exists, share * count, np.nan).astype(np.float32), np.where(exists, share, -1).argmax(axis=-1)


def pieces_of(trajectory: xr.Dataset) -> dict[int, str]:
    """Return token id -> text, for the ids that occur; half a surrogate pair is a "?".

    No page or file can hold one.
    """
    pieces = json.loads(trajectory.attrs["pieces"]).items()
    return {int(token): text.encode("utf-8", "replace").decode() for token, text in pieces}


def selection_label(layer: int | None, head: int | None) -> str:
    """Return a description of the layer and head."""
    if layer is None and head is None:
        return "mean over all layers and heads"
    if head is None:
        return f"layer {layer}, mean over heads"
    if layer is None:
        return f"head {head}, mean over layers"
    return f"layer {layer}, head {head}"


def printable(text: str) -> str:
    """Return a token's text with its white space made visible."""
    shown = text.replace("\n", "↵").replace("\t", "⇥")
    return shown if shown.strip() else shown.replace(" ", "␣") or "∅"
