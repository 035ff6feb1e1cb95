"""The motion of one head's (or mean's) sink: numbers, formulas, and figures."""

from __future__ import annotations

import streamlit as st

from ...plots.lines import autocorrelation_lines, drift_lines, frequency_bars
from ...plots.view import View, printable
from ...sinks import motion as formulas
from ..widgets.figure import draw


def step_line(view: View, step: int) -> None:
    """Show one line on the chosen step: the dominant position and its token."""
    position = int(view.path[step])
    sinks = int(view.sinks[step].sum())
    st.markdown(
        f"Step **{step}**: position **{position}** (`{_code(printable(view.piece(step, position)))}`) receives "
        f"**{view.share[step, position]:.1%}** of the attention, "
        f"{view.times_even[step, position]:.1f} times an even share; "
        f"{sinks} {'sink' if sinks == 1 else 'sinks'} under the rule."
    )


def figures_strip(view: View) -> None:
    """Show the five main numbers of motion in one row."""
    values = _scalars(view)
    shown = ("switch_rate", "persistence", "temporal_deviation", "autocorrelation", "overlap")
    for column, name in zip(st.columns(len(shown)), shown, strict=True):
        metric = formulas.METRICS[name]
        column.metric(
            metric.title, f"{values[name]:.3f}", help=f"{metric.unit}. Formula: {metric.formula}", border=True
        )


def panel(view: View) -> None:
    """Show dwell times, dominance, autocorrelation by lag and drift, each with its formula."""
    left, right = st.columns(2)
    with left:
        st.subheader("Which positions dominate", anchor=False)
        last = [printable(view.piece(view.steps - 1, position)) for position in range(view.positions)]
        frequency = formulas.dominance_frequency(view.path, view.positions)
        draw(frequency_bars(frequency, last), alt="Share of steps in which each position dominates")
    with right:
        st.subheader("Autocorrelation", anchor=False)
        draw(autocorrelation_lines(view.share), alt="Autocorrelation of received attention by lag")
    left, right = st.columns(2)
    with left:
        st.subheader("Drift from step to step", anchor=False)
        draw(drift_lines(view.share), alt="Jensen-Shannon distance between neighbouring steps")
    with right:
        st.subheader("Dwell times", anchor=False)
        dwells = formulas.dwell_times(view.path)
        st.dataframe(
            [
                {
                    "from step": start,
                    "steps": length,
                    "position": position,
                    "token then": printable(view.piece(start, position)),
                }
                for position, start, length in dwells
            ],
            height=260,
            hide_index=True,
            alt="Runs of one dominant position",
        )
    formula_list(view)


def formula_list(view: View) -> None:
    """Show every number of motion with its unit and formula."""
    with st.expander("All numbers, with their formulas"):
        values = _scalars(view)
        st.dataframe(
            [
                {"quantity": metric.title, "value": float(values[name]), "unit": metric.unit, "formula": metric.formula}
                for name, metric in formulas.METRICS.items()
            ],
            hide_index=True,
            column_config={"value": st.column_config.NumberColumn(format="%.4g")},
        )


def _scalars(view: View) -> dict[str, float]:
    return {name: float(value) for name, value in formulas.motion(view.share, view.sinks).items()}


def _code(text: str) -> str:
    return text.replace("`", "ˋ")
