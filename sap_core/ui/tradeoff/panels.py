"""All measured plans of a model as points: choose the axes, draw, and open a plan on the Prune page."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from ...choices.methods import METHODS
from ...models.info import ModelInfo
from ...plots.tradeoff import Axis, tradeoff
from ...sweeps.results_table import TASK
from ...sweeps.tradeoff import best_plans
from ...texts.wording import speed_cell
from ..prune.plan_form import PATTERNS, load_plan
from ..widgets import results
from ..widgets.address import address_choice, choose, write_query_param
from ..widgets.figure import draw, table_downloads
from ..widgets.formatting import format_time, many
from ..widgets.layout import visit

COSTS = {
    "size": Axis("size", "parameters left (share of dense, zeros not counted)", ".0%"),
    "memory": Axis("mebibytes", "weights in memory and on disk (MiB, zeros included)", ".1f"),
    "speed": Axis("speedup", "speed of generation (× dense)", ".2f", high=True),
}
LOSS = Axis("loss", "loss increase (nats per token)", "+.3f")
FOLLOW_SECONDS = 3.0


def leave_if_asked(model: str) -> None:
    """Open a clicked plan in the form of the Prune page."""
    wanted = st.session_state.pop("plan_wanted", None)
    if wanted is None:
        return
    plans = results.measured_of(model)
    selected = plans[plans["id"] == wanted]
    if selected.empty:
        st.warning("That plan is not there any more.")
        return
    plan = selected.iloc[0]
    load_plan(plan["spec"])
    choose("result", plan["run"] if not plan["cell"] else "dense")
    st.session_state["plan_in_form"] = wanted
    visit("prune", model=model, result=plan["run"] if not plan["cell"] else "dense")


def pick_axes(plans: pd.DataFrame) -> tuple[Axis, Axis]:
    """Show the choice of the axes and return gain (horizontal) and quality (vertical)."""
    left, right = st.columns(2)
    tasks = {
        name: Axis(name, f"score of task {name.removeprefix(TASK)}", ".0%", high=True)
        for name in plans.columns
        if name.startswith(TASK) and plans[name].notna().any()
    }
    cost = address_choice(
        "Gain", list(COSTS), "cost", container=left, format_func=lambda name: COSTS[name].title.split(" (")[0],
        help="What pruning is for. Speed is there for plans that were timed.",
    )  # fmt: skip
    qualities = {"loss": LOSS, **tasks}
    quality = address_choice(
        "Quality", list(qualities), "quality", container=right, format_func=lambda name: qualities[name].title,
        help="Loss: difference to the dense model on the same texts and masks. Tasks: where a sweep scored them.",
    )  # fmt: skip
    return COSTS[cost], qualities[quality]


def chart(model: str, info: ModelInfo, cost: Axis, quality: Axis, running: bool) -> None:
    """Show the figure and its table; redrawn every few seconds while a sweep of this model runs."""

    @st.fragment(run_every=FOLLOW_SECONDS if running else None)
    def followed() -> None:
        if st.session_state.get("plan_wanted"):
            st.rerun(scope="app")
        _chart(model, info, cost, quality)

    followed()


def _chart(model: str, info: ModelInfo, cost: Axis, quality: Axis) -> None:
    plans = results.measured_of(model)
    if plans.empty:
        st.info("The sweep has not measured a plan yet; points appear here as they come.")
        return
    plans = plans.assign(
        mebibytes=plans["memory"].astype(float) / 2**20,
        method=[METHODS[name].title if name in METHODS else name for name in plans["method"]],
    )
    for column in (cost.column, quality.column):
        plans[column] = pd.to_numeric(plans[column], errors="coerce")
    points = plans.dropna(subset=[cost.column, quality.column])
    if points.empty:
        st.info(f"No plan has a value for {cost.title.split(' (')[0]} yet; a sweep that times generation gives it.")
        return
    best = best_plans(points, cost.column, cost.high, quality.column)
    current = _current(points)
    here = {"size": 1.0, "mebibytes": info.bytes / 2**20, "speedup": 1.0}[cost.column]
    known = many(len(points), "measured plan")
    draw(
        tradeoff(
            points,
            best,
            cost,
            quality,
            current=current,
            dense=(here, 0.0) if quality.column == "loss" else None,
            methods=[selected.title for selected in METHODS.values()],
        ),
        key="tradeoff_points",
        on_select=_clicked,
        selection_mode="points",
        alt=f"{known}: {quality.title} against {cost.title}; the table below has the numbers",
    )
    st.caption(
        f"{known}, {len(best)} on the frontier (none other is better in both). A click on a point puts the "
        "plan into the form of Prune; the ringed point is the plan that stands there."
    )
    _table(points, set(best["id"]), current)


def _current(points: pd.DataFrame) -> str | None:
    """Return the plan in the form of Prune, else the one in the address."""
    known = set(points["id"])
    state = st.session_state
    for name in (state.get("plan_in_form"), state.get("choice_result"), st.query_params.get("plan")):
        if name in known:
            write_query_param("plan", name)
            return name
    return None


def _clicked() -> None:
    points = st.session_state["tradeoff_points"]["selection"]["points"]
    if points and points[-1].get("customdata"):
        data = points[-1]["customdata"]
        st.session_state["plan_wanted"] = data["0"] if isinstance(data, dict) else data[0]


def _table(points: pd.DataFrame, best: set[str], current: str | None) -> None:
    """Show the points as a table, where a plan can be selected without a mouse."""
    shown = points.sort_values(["loss"], kind="stable")
    tasks = [name for name in shown.columns if name.startswith(TASK) and shown[name].notna().any()]
    table = pd.DataFrame(
        {
            "frontier": ["yes" if name in best else "" for name in shown["id"]],
            "method": shown["method"].tolist(),
            "pattern": [str(PATTERNS.get(name, name)).split(",")[0] for name in shown["pattern"]],
            "sparsity": shown["sparsity"].tolist(),
            "order": shown["order"].tolist(),
            "allocation": shown["allocation"].tolist(),
            "seed": shown["seed"].tolist(),
            "loss increase (nats/token)": shown["loss"].tolist(),
            "± SE": shown["error"].tolist(),
            "parameters left": shown["size"].tolist(),
            "weights (MiB)": shown["mebibytes"].tolist(),
            "speed (× dense)": [speed_cell(selected) for selected in shown.to_dict(orient="records")],
            **{f"task {name.removeprefix(TASK)}": shown[name].tolist() for name in tasks},
            "measured in": shown["source"].tolist(),
            "when (UTC)": [format_time(created) for created in shown["created"]],
        }
    )
    columns: dict[str, Any] = {
        name: st.column_config.NumberColumn(format="percent")
        for name in ("sparsity", "parameters left", *(f"task {name.removeprefix(TASK)}" for name in tasks))
    }
    columns |= {
        name: st.column_config.NumberColumn(format=form)
        for name, form in (
            ("loss increase (nats/token)", "%+.3f"),
            ("± SE", "%.3f"),
            ("weights (MiB)", "%.1f"),
        )
    }
    with st.expander("The same as a table"):
        st.dataframe(table, hide_index=True, column_config=columns, height=320, alt="Every measured plan")
        table_downloads(points.drop(columns=["spec"]), "measured-plans", ())
    names = dict(zip(shown["id"], zip(shown["label"], shown["source"], shown["loss"], strict=True), strict=True))
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    order = list(names)
    chosen = left.selectbox(
        "Plan", order, index=order.index(current) if current in order else 0, key="plan_by_name",
        format_func=lambda name: f"{names[name][0]} · {names[name][2]:+.3f} nats/token · {names[name][1]}",
        help="The same as a click on its point; lowest loss first.",
    )  # fmt: skip
    right.button(
        "Open on Prune", on_click=_wanted, args=(chosen,), width="stretch", icon=":material/content_cut:",
    )  # fmt: skip


def _wanted(name: str) -> None:
    st.session_state["plan_wanted"] = name
