"""The parts of the Compare page, from a `sap_core.sinks.compare.Comparison`."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from ...choices.sink_rules import SinkRule
from ...errors import SapError
from ...plots.compare import comparison_curve, difference_heatmap
from ...plots.forest import claims_forest
from ...plots.heatmap import trajectory_heatmap
from ...runs.listing import RunSummary
from ...runs.reading import Run
from ...sinks.claims import answer_claims, answers_table
from ...sinks.compare import (
    CURVES,
    LETTERS,
    MOST,
    Comparison,
)
from ...sinks.intervals import Interval
from ..widgets import results
from ..widgets.address import address_many
from ..widgets.figure import draw, table_downloads
from ..widgets.formatting import plain_text, run_label
from ..widgets.layout import nothing_here
from ..widgets.pickers import pick_run

STATES = ("finished", "cancelled")


def pick_runs() -> list[Run] | None:
    """Show the choice of runs and return them, A first; None, with instructions, if there are not enough."""
    known = results.runs_of("capture", states=STATES)
    first, second = _telling_pair(known)
    left, right = st.columns(2)
    a = pick_run("capture", "a", "Run A", container=left, states=STATES, default=first,
                 help="The reference: every difference is another run minus this one.")  # fmt: skip
    b = pick_run("capture", "b", "Run B", container=right, states=STATES, default=second,
                 help="Another model, sampler, prompt or seed, or the same model pruned.")  # fmt: skip
    if a is None or b is None:
        nothing_here("Comparing needs captured runs, and there is none yet.", "Run the demo: it makes two", "start")
        return None
    others = {run.id: run for run in known if run.id not in (a.id, b.id)}
    more = address_many(
        "Further runs",
        list(others),
        "more",
        most=MOST - 2,
        format_func=lambda name: run_label(others[name].name, others[name].created, others[name].state),
        help=f"Up to {MOST - 2} more, each compared with run A.",
        placeholder="None" if others else "There are no other captured runs",
    )
    if a.path == b.path:
        st.info("A and B are the same run. Choose another one, or capture a second run to compare with.")
    try:
        return [results.run_at(run.path) for run in (a, b, *(others[name] for name in more))]
    except SapError as error:
        st.error(plain_text(str(error)))
        return None


def _telling_pair(runs: list[RunSummary]) -> tuple[int, int]:
    """Return the two newest runs to start with: an autoregressive and a diffusion one if there are both."""
    kinds = [results.objective_of(str(run.path), results.stamp(run.path)) for run in runs[:20]]
    if {"autoregressive", "masked_diffusion"} <= set(kinds):
        return kinds.index("autoregressive"), kinds.index("masked_diffusion")
    return 1, 0


def headline(found: Comparison) -> None:
    """Show the two main numbers of the method for every run."""
    rows = found.table.set_index("metric")
    wanted = [(name, run) for name in ("switch_rate", "temporal_deviation") for run in range(len(found.names))]
    width = 4 if len(found.names) == 2 else len(found.names)
    for start in range(0, len(wanted), width):
        for column, (name, run) in zip(st.columns(width), wanted[start : start + width], strict=False):
            row, letter, mean = rows.loc[name], LETTERS[run], found.means_of[name][run]
            spread = f"95 %: {_between(mean)}" if mean.over == "prompts" else f"SD over heads {row[f'{letter}_sd']:.3f}"
            column.metric(
                f"{row['title']}, {letter.upper()}",
                f"{mean.value:.3f}",
                delta=spread,
                delta_color="off",
                delta_arrow="off",
                border=True,
                help=f"{row['unit'].capitalize()}; mean over heads and prompts. Below: the 95 % interval of the mean "
                "over prompts, or with a single prompt the standard deviation over heads.",
            )


def heatmaps(runs: list[Run], rule: SinkRule) -> None:
    """Show every run's mean attention, with dominant path, on the same colour scale and time axis."""
    for start in range(0, len(runs), 2):
        for column, index in zip(st.columns(2), range(start, min(start + 2, len(runs))), strict=False):
            run, letter = runs[index], LETTERS[index].upper()
            view = results.view_of(str(run.path), results.stamp(run.path), 0, None, None, rule)
            with column:
                st.subheader(f"{letter}: {plain_text(run.name)}", anchor=False)
                figure = trajectory_heatmap(view, normalised=True, height=300, show_sinks=False)
                draw(figure, key=f"map_{letter}", alt=f"Attention received over run {letter}, {view.label}", data=view)


def differences(found: Comparison) -> None:
    """Show the differences of attention to A, position by position."""
    st.subheader("Difference of received attention", anchor=False)
    letters = [letter.upper() for letter in LETTERS[1 : len(found.names)]]
    chosen = 0
    if len(letters) > 1:
        label = st.segmented_control(
            "Which run against A",
            letters,
            default=letters[0],
            key="against",
            required=True,
            help="The figure shows this run relative to A.",
        )
        chosen = letters.index(label)
    name = letters[chosen]
    draw(
        difference_heatmap(*found.aligned(chosen + 1), names=("A", name)),
        key="difference",
        alt=f"Attention received in {name} relative to A, over the share of the run and position",
    )
    st.caption(
        "Mean over layers, heads and prompts. Runs of different length are spread over the shorter's positions. Blank: "
        "only one of the runs has this position at this time."
    )


def curves(found: Comparison) -> None:
    """Show what changes over the run: entropy, distance, attention from masked queries, sinks, with intervals."""
    letters = [letter.upper() for letter in LETTERS[: len(found.names)]]
    st.subheader("Over the run", anchor=False)
    columns = st.columns(2)
    for index, (name, (title, unit)) in enumerate(CURVES.items()):
        with columns[index % 2]:
            draw(
                comparison_curve(found, name, height=230),
                key=f"curve_{name}",
                alt=f"{title} ({unit}) over the runs {', '.join(letters)}",
            )
    if any(band is not None for each in found.bands.values() for band in each):
        st.caption("Bands are 95 % intervals of the mean over prompts.")


def metrics(found: Comparison, runs: list[Run]) -> None:
    """Show every metric for every run, with its interval over prompts, and the differences to A."""
    st.subheader("In numbers", anchor=False)
    table = metrics_table(found)
    digits = {name: st.column_config.NumberColumn(format="%.4g") for name in table if table[name].dtype.kind == "f"}
    st.dataframe(
        table,
        hide_index=True,
        height=35 * (len(table) + 1) + 3,
        column_config=digits,
        alt="Metrics of the runs with their intervals and differences",
    )
    st.caption(
        "Mean over heads and prompts. [low, high] is the 95 % interval of the mean over prompts (Student's t; the same "
        "prompts are paired). A run with one prompt has none: ± is then the standard deviation over heads, and the "
        "difference's interval is over heads."
    )
    table_downloads(found.table, "comparison", runs)


def metrics_table(found: Comparison) -> pd.DataFrame:
    """Return the table of metrics as text: per run the mean and its spread, then the differences to A."""
    shown: dict[str, Any] = {"quantity": found.table["title"], "unit": found.table["unit"]}
    names = found.table["metric"]
    for run, letter in enumerate(LETTERS[: len(found.names)]):
        shown[letter.upper()] = found.table[letter]
        means = [found.means_of[name][run] for name in names]
        if means[0].over == "prompts":
            shown[f"{letter.upper()} 95 %"] = [_between(mean) for mean in means]
        else:
            shown[f"{letter.upper()} ±"] = found.table[f"{letter}_sd"]
    for run, letter in enumerate(LETTERS[1 : len(found.names)]):
        parts = [found.differences_of[name][run] for name in names]
        shown[f"{letter.upper()} - A"] = [part.value for part in parts]
        shown[f"{letter.upper()} - A 95 %, over {parts[0].over}"] = [_between(part) for part in parts]
    return pd.DataFrame(shown)


def claims(found: Comparison) -> None:
    """Show the three claims on diffusion models' sinks, tested on these runs."""
    st.subheader("Do the three claims hold here?", anchor=False)
    answers = answer_claims(found)
    if not answers:
        st.caption("They are claims about diffusion models, and all of these runs are autoregressive.")
        return
    table = pd.DataFrame(answers_table(answers))
    draw(
        claims_forest(answers),
        key="claims",
        alt="Effects in the direction of the claims, with 95 % intervals",
        data=table,
    )
    with st.expander("The claims in numbers"):
        st.dataframe(table, hide_index=True, height=35 * (len(table) + 1) + 3, alt="The claims and their answers")
        st.caption(
            "“Holds”: the 95 % interval lies on the claimed side of 0. “Doesn't hold”: it lies on the other side. "
            "“Undecided”: it includes 0. Position variance and transience are differences from the autoregressive run; "
            "the third claim is the change of the attention distance within the run."
        )


def _between(found: Interval) -> str:
    return "–" if found.low != found.low else f"[{found.low:.3g}, {found.high:.3g}]"
