"""Choices that several pages share: run, layer and head, sink rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from ...choices.sink_rules import SINK_RULES, SinkRule
from ...errors import SapError
from ...runs.listing import RunSummary, describe_run
from ...runs.paths import resolve_run
from ...runs.reading import Run
from ...trajectory.access import layer_numbers, layers_without_attention
from ...trajectory.accuracy import sampling_note
from .address import (
    address_choice,
    address_number,
    address_text,
    arrived_with,
    one_of,
    take_in,
    tell,
    write_query_param,
)
from .formatting import plain_text, run_label
from .layout import nothing_here
from .results import run_at, runs_of

VIEWABLE = ("finished", "cancelled", "running")


def pick_run(
    kind: str, key: str, label: str, *, container: Any = None, states: tuple[str, ...] = VIEWABLE, default: int = 0,
    help: str | None = None, model: str | None = None,
) -> RunSummary | None:  # fmt: skip
    """Show the choice of a run of ``kind``, which is in the address as ``key``, and return it; None if there is none.

    A run in the address that is outside the root is offered too. Of the recorded runs of the package only those of
    ``model`` are offered, if it is given.
    """
    runs = runs_of(kind, states=states, model=model)
    runs.sort(key=lambda run: run.state == "unfinished")  # what was interrupted is never the first choice
    named = st.query_params.get(key) or st.session_state.get(f"choice_{key}")
    if named and named not in {run.id for run in runs}:
        found = _run_named(named)
        if found and found.kind == kind and found.state in states and "/" in named:
            runs.append(found)
        elif arrived_with(key)[1] is not None:
            tell(f"The address names run {named}, which is not among the {kind} runs here; showing another.")
    if not runs:
        return None
    known = {_address(run, named): run for run in runs}
    chosen = address_choice(
        label,
        list(known),
        key,
        format_func=lambda name: run_label(known[name].name, known[name].created, known[name].state),
        container=container,
        default=min(default, len(known) - 1),
        help=help,
    )
    return known[chosen]


def _run_named(named: str) -> RunSummary | None:
    """Return the run that an address names by a path; None if there is none."""
    try:
        path = resolve_run(named)
        return describe_run(path) if path.is_dir() else None
    except SapError:
        return None


def accuracy_line(run: Run, sample: int = 0) -> None:
    """Show, for a run with sampled queries, that its attention is an estimate, and its error."""
    note = sampling_note(run.trajectories[sample])
    if note:
        st.info(plain_text(note), icon=":material/straighten:")


def partial_line(run: Run) -> None:
    """Say of a run that is not finished of how many of its steps the numbers are."""
    if run.partial:
        st.info(f"This run is {run.state}: everything here is of {run.partial}.", icon=":material/incomplete_circle:")


def run_in_view(kind: str = "capture") -> Run | None:
    """Show, in the sidebar, the choice of the run for Sinks and Heads, and return it; None without runs."""
    summary = pick_run(
        kind,
        "run",
        "Run in view",
        container=st.sidebar,
        states=(*VIEWABLE, "unfinished"),
        help="Captured runs, newest first. Shared by Sinks and Heads.",
    )
    if summary is None:
        nothing_here("No run has been captured yet.", "Run the demo, or capture your own", "start")
        return None
    try:
        run = run_at(summary.path, unfinished=summary.state in ("running", "unfinished"))
        if run.trajectory.sizes["step"] == 0:
            later = "; it is drawn as soon as it has" if summary.state == "running" else ""
            st.info(f"This run has not recorded a step yet{later}.")
            return None
        partial_line(run)
    except SapError as error:
        st.error(plain_text(str(error)))
        return None
    return run


@dataclass(frozen=True)
class Selection:
    """The part of a run in view; None means the mean."""

    sample: int
    layer: int | None
    head: int | None
    rule: SinkRule


def pick_selection(run: Run) -> Selection:
    """Show sample, layer, head, rule and threshold in one row, all in the address, and return them."""
    trajectory = run.trajectory
    samples = len(run.trajectories)
    widths = ([1] if samples > 1 else []) + [1.3, 1.3, 1.3, 1.9]
    boxes = iter(st.columns(widths, vertical_alignment="bottom"))
    sample = 0
    if samples > 1:
        sample = address_choice(
            "Prompt", range(samples), "sample", container=next(boxes), format_func=lambda n: f"{n + 1} of {samples}"
        )
    without = ", ".join(map(str, layers_without_attention(trajectory)))
    layer = address_choice(
        "Layer",
        [None, *layer_numbers(trajectory)],
        "layer",
        format_func=lambda n: "mean over layers" if n is None else f"layer {n}",
        container=next(boxes),
        help="Layer 0 is nearest to the input." + (f" Layers without attention: {without}." if without else ""),
    )
    head = address_choice(
        "Head",
        [None, *range(trajectory.sizes["head"])],
        "head",
        format_func=lambda n: "mean over heads" if n is None else f"head {n}",
        container=next(boxes),
        help="Attention is averaged over what is not chosen.",
    )
    rule = pick_rule(next(boxes)).info
    threshold = address_number(
        next(boxes).number_input,
        f"Threshold ({rule.unit})",
        f"threshold_{rule.name}",
        float(rule.threshold),
        0.0,
        None,
        0.1,
        help=f"{rule.help} Source: {rule.source}.",
    )
    return Selection(sample, layer, head, SinkRule(rule.name, float(threshold)))


def pick_rule(container: Any = None) -> SinkRule:
    """Show the choice of the sink rule and its threshold, and return it."""
    name = address_choice(
        "Sink rule",
        list(SINK_RULES),
        "rule",
        format_func=lambda name: SINK_RULES[name].title,
        container=container,
        help="What counts as an attention sink; the threshold beside it is the rule's own.",
    )
    return SinkRule(name)


def _address(run: RunSummary, named: str | None) -> str:
    """Return how the address names a run: by its id under the root, by its path elsewhere."""
    return named if named and "/" in named and address_text(run.path) == str(resolve_run(named)) else run.id


def part_in_view(key: str, options: Sequence[int]) -> int | None:
    """Return the layer or head that all pages share, and mirror it; None: none is chosen, or not one of ``options``."""
    held = f"choice_{key}"
    take_in(key, held, one_of([None, *options]))
    value = st.session_state.get(held)
    if held in st.session_state:
        write_query_param(key, value)
    return value if value in options else None
