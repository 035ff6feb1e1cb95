"""The parts of the Compare page, from a `sap_core.sinks.compare.Comparison`."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from ..errors import SapError
from ..plots.compare import difference_heatmap
from ..plots.heatmap import trajectory_heatmap
from ..plots.lines import step_lines
from ..plots.theme import RUN_COLOURS
from ..runs import Run, RunSummary
from ..sinks.compare import CURVES, Comparison
from . import results
from .figure import draw
from .frame import nothing_here
from .picks import pick_run
from .words import plain_error


def pick_pair() -> tuple[Run, Run] | None:
    """The two runs, A and B; says what to do when there are not enough."""
    left, right = st.columns(2)
    states = ("finished", "cancelled")
    first, second = _telling_pair(results.runs_of("capture", states=states))
    a = pick_run("capture", "a", "Run A", container=left, states=states, default=first)
    b = pick_run("capture", "b", "Run B", container=right, states=states, default=second)
    if a is None or b is None:
        nothing_here("Comparing needs captured runs, and there is none yet.", "Run the demo: it makes two", "start")
        return None
    if a.path == b.path:
        st.info("A and B are the same run. Choose another one, or capture a second run to compare with.")
    try:
        return results.run_at(a.path), results.run_at(b.path)
    except SapError as error:
        st.error(plain_error(str(error)))
        return None


def _telling_pair(runs: list[RunSummary]) -> tuple[int, int]:
    """Which two of the newest runs to start from: an autoregressive and a diffusion one if there are both."""
    kinds = [results.objective_of(str(run.path), results.stamp(run.path)) for run in runs[:20]]
    if {"autoregressive", "masked_diffusion"} <= set(kinds):
        return kinds.index("autoregressive"), kinds.index("masked_diffusion")
    return 1, 0


def headline(found: Comparison) -> None:
    """The two numbers the method is about, for both runs."""
    rows = found.table.set_index("metric")
    columns = st.columns(4)
    for place, name in enumerate(("switch_rate", "temporal_deviation")):
        for side, letter in (("a", "A"), ("b", "B")):
            row = rows.loc[name]
            columns[2 * place + (side == "b")].metric(
                f"{row['title']}, {letter}",
                f"{row[side]:.3f}",
                delta=f"± {row[side + '_sd']:.3f} over heads",
                delta_color="off",
                delta_arrow="off",
                border=True,
                help=f"{row['unit']}; mean over heads and prompts, with the standard deviation.",
            )


def heatmaps(a: Run, b: Run, rule: str) -> None:
    """Both runs' mean attention, with dominant path, on the same colour scale and time axis."""
    for column, run, letter in zip(st.columns(2), (a, b), "AB", strict=True):
        view = results.view_of(str(run.path), results.stamp(run.path), 0, None, None, rule, None)
        with column:
            st.subheader(f"{letter}: {run.name}", anchor=False)
            figure = trajectory_heatmap(view, normalised=True, height=380, show_sinks=False, colour_axis=True)
            draw(figure, key=f"map_{letter}", alt=f"Attention received over run {letter}, {view.label}")


def curves(found: Comparison) -> None:
    """What changes over the run: entropy, distance, attention from masked queries, sinks; and the difference map."""
    names = {"A": RUN_COLOURS["a"], "B": RUN_COLOURS["b"]}
    st.subheader("Over the run", anchor=False)
    columns = st.columns(2)
    for place, (name, (title, unit)) in enumerate(CURVES.items()):
        first, second = found.curves[name]
        with columns[place % 2]:
            draw(
                step_lines(
                    {"A": first, "B": second},
                    f"{title}<br>({unit})",
                    x=found.time,
                    x_title="share of the run",
                    colours=names,
                    height=230,
                ),
                key=f"curve_{name}",
                alt=f"{title} over both runs",
            )
    size = found.difference.shape[1]
    with st.expander("Difference of received attention, position by position"):
        first, second = (_binned(array, size) for array in found.received)
        draw(difference_heatmap(size * first, size * second), key="difference", alt="B relative to A")
        st.caption("Runs of different length are spread over the shorter one's positions.")


def metrics(found: Comparison) -> None:
    """Every metric for both runs, with its spread and the difference."""
    st.subheader("In numbers", anchor=False)
    table = found.table.rename(
        columns={"a": "A", "b": "B", "a_sd": "A ±", "b_sd": "B ±", "difference": "B - A", "title": "quantity"}
    )
    digits = st.column_config.NumberColumn(format="%.4g")
    st.dataframe(
        table[["quantity", "unit", "A", "A ±", "B", "B ±", "B - A"]],
        hide_index=True,
        height=35 * (len(table) + 1) + 3,
        column_config={name: digits for name in ("A", "A ±", "B", "B ±", "B - A")},
        alt="Metrics of both runs with their difference",
    )
    st.caption("Mean over heads and prompts; ± is the standard deviation over them.")
    st.download_button("Table (CSV)", lambda: found.table.to_csv(index=False), "comparison.csv", "text/csv")


def claims(found: Comparison) -> None:
    """The three things said of diffusion models' sinks, answered for these two runs from their own numbers."""
    st.subheader("Do the three claims hold here?", anchor=False)
    rows = found.table.set_index("metric")
    answers = [
        _claim(rows, "temporal_variance", "Sinks vary in position more in B than in A", higher=True),
        _claim(rows, "persistence", "Sinks are more transient in B than in A", higher=False),
        _claim(rows, "distance_change", "Attention goes from global to local in B more than in A", higher=False),
        _claim(rows, "entropy_change", "Attention sharpens over the run in B more than in A", higher=False),
    ]
    st.dataframe(answers, hide_index=True, height=35 * (len(answers) + 1) + 3, alt="The claims and their answers")
    st.caption(
        "“Holds” when the difference has the claimed sign and exceeds the spread of the two (root of the summed "
        "squares, over heads and prompts); “points that way” when only the sign fits."
    )


def _claim(rows: Any, name: str, sentence: str, *, higher: bool) -> dict[str, Any]:
    row = rows.loc[name]
    signed = row["difference"] if higher else -row["difference"]
    spread = float(np.hypot(row["a_sd"], row["b_sd"]))
    answer = "holds" if signed > spread and signed > 0 else "points that way" if signed > 0 else "doesn't hold"
    return {
        "claim": sentence,
        "answer": answer,
        "measured by": row["title"],
        "A": f"{row['a']:.4g}",
        "B": f"{row['b']:.4g}",
        "difference": f"{row['difference']:+.4g} {row['unit']}",
    }


def _binned(array: np.ndarray, size: int) -> np.ndarray:
    from ..sinks.compare import rebin

    return rebin(array, size)
