"""The results of interventions: figures, tables, and the ways on to Heads and Prune."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from ...plots import interventions as plots
from ...runs.listing import RunSummary
from ...runs.reading import Run
from ...specs import parse_spec
from ...texts.wording import with_error
from ..widgets import jobs, results
from ..widgets.address import address_choice, choose
from ..widgets.figure import draw
from ..widgets.formatting import format_time, plain_text, run_label
from ..widgets.layout import go
from ..widgets.pickers import part_in_view

WEAK = 0.4  # a coefficient below it leaves most of the order unexplained


def pick_measurement(kind: str, model: str) -> RunSummary | None:
    """Show the choice of a finished measurement of a model, newest first, and return it; None if there is none."""
    known = {run.id: run for run in results.runs_of(kind, states=("finished",)) if run.model == model}
    if not known:
        return None
    chosen = address_choice(
        "Measurement", list(known), "measurement", help="Finished measurements of this model, newest first.",
        format_func=lambda name: run_label(known[name].name, known[name].created, known[name].state),
    )  # fmt: skip
    return known[chosen]


def sink_results(run: Run) -> None:
    """Show what blocking cost: by number of sinks, by level of masking, by part of the generation, by head."""
    result = run.result
    whole = [one for one in result["conditions"] if one["head"] is None]
    st.caption(plain_text(_measured_on(result)))
    measures = [name for name in plots.MEASURES if any(one.get(name) for one in whole)]
    measures += [f"task:{name}" for name in (whole[0].get("tasks") or {})]
    measure = address_choice(
        "Measure", measures, "measure",
        format_func=lambda name: plots.MEASURES.get(name) or f"task {name.partition(':')[2]}",
        help="Loss and KL on partly masked texts; tokens and tasks in texts that the model writes.",
    )  # fmt: skip
    draw(plots.blocking_curves(result, measure), key="blocking", alt=f"{measure} against the number of blocked sinks")
    st.caption(
        "If blocking sinks costs no more than blocking as much attention elsewhere, the attention matters, not the "
        "sink. Bands are 95 % intervals over texts, paired with the model as it is."
    )
    tops = sorted({one["top"] for one in whole if one["top"]})
    left, right = st.columns(2, gap="large")
    if any(one["levels"] for one in whole):
        with left:
            st.subheader("When do sinks matter?", anchor=False)
            top = address_choice(
                "Blocked in every head", tops, "blocked", format_func=_sinks, help="How many sinks the curve is of."
            )
            draw(plots.level_curves(result, top), key="levels", alt="Loss increase against the share of masked tokens")
    if result["parts"]:
        with right:
            st.subheader("In one part of the generation", anchor=False)
            draw(plots.part_bars(result), key="part_bars", alt="Tokens written otherwise, by part of the generation")
            st.caption(f"{_sinks(result['parts'][0]['top'])} of every head blocked in that part alone.")
    if any(one["head"] for one in result["conditions"]):
        st.subheader("In one head alone", anchor=False)
        draw(plots.single_heads(result), key="single", alt="Loss increase by head whose sinks are blocked")
    with st.expander("The same as a table"):
        st.dataframe(
            pd.DataFrame([_condition(one) for one in result["conditions"]]), hide_index=True,
            alt="Every condition with its loss increase, KL and agreement",
        )  # fmt: skip


def head_results(run: Run) -> None:
    """Show the damage of every head against what was expected of it, and which ranking would have been best."""
    result = run.result
    st.caption(plain_text(_measured_on(result)))
    titles = {one["score"]: one["title"] for one in result["agreement"]}
    score = address_choice(
        "Compared with", list(titles), "score", format_func=titles.__getitem__,
        help="The instability, one of its components, or a score that a pruning method takes.",
    )  # fmt: skip
    selected = _selected(result["heads"])
    left, right = st.columns([3, 2], gap="large")
    with left:
        draw(
            plots.damage_scatter(result["heads"], score, titles[score], selected=selected), key="damage",
            on_select=lambda: _clicked("damage"), selection_mode="points",
            alt=f"Damage of every head against {titles[score]}; the table beside it holds the numbers",
        )  # fmt: skip
        _agreement_line(result, score)
    with right:
        _head_table(result["heads"], score, titles[score])
        if selected:
            go("Open this head", "heads", layer=selected[0], head=selected[1], **_capture_of(run))
        go("Prune by measured damage", "prune", model=result["model"], method="measured", ranking=run.id)
    if result["curves"]:
        st.subheader("Which ranking would have been best here", anchor=False)
        draw(
            plots.ranking_curves(result), key="rankings",
            alt="Loss increase against the number of heads left out, by ranking",
        )  # fmt: skip
        st.caption(
            "Rankings by damage are made on one half of the texts, all curves are measured on the other. The grey band "
            "is the 95 % interval of random orders: a ranking within it is no better than chance."
        )
    _fit(result["fit"])
    with st.expander("How well each score ranks the heads"):
        st.dataframe(
            pd.DataFrame([_agreement(one) for one in result["agreement"]]), hide_index=True,
            alt="Rank correlation of every score with the measured damage",
        )  # fmt: skip


def unfinished(kind: str, model: str) -> None:
    """Show stopped measurements of a model, each with a button that goes on with it; nothing is measured twice."""
    busy = (job := jobs.job_of(kind)) is not None and job.open
    for run in results.runs_of(kind, states=("cancelled", "failed", "unfinished"), model=model):
        if busy or run.model != model:
            continue
        left, right = st.columns([4, 1], vertical_alignment="center")
        left.markdown(f"**{plain_text(run.name)}** of {format_time(run.created)} UTC was stopped.")
        if right.button(
            "Go on", key=f"resume_{run.id}", width="stretch", help="What is measured is not measured again."
        ):
            spec = parse_spec(results.run_at(run.path, unfinished=True).spec)
            if jobs.submit(spec, kind, run_dir=str(run.path)):
                st.rerun()


def _agreement_line(result: dict[str, Any], score: str) -> None:
    one = next(one for one in result["agreement"] if one["score"] == score)
    if one["spearman"] is None:
        st.caption("All heads have the same score: it ranks nothing.")
        return
    weak = "weakly " if abs(one["spearman"]) < WEAK else ""
    says = "says nothing sure about the damage"
    if one["spearman_low"] is not None and one["spearman_low"] > 0:
        says = f"{weak}ranks the heads as the damage does: what it would remove first matters less"
    elif one["spearman_high"] is not None and one["spearman_high"] < 0:
        says = f"{weak}ranks the heads the wrong way round: what it would remove first matters more"
    st.markdown(
        f"**{one['title']}** {says}. Spearman {_interval(one, 'spearman')}, Kendall {_interval(one, 'kendall')}; "
        "1 means that it removes exactly the least harmful heads first."
    )


def _fit(fit: dict[str, Any]) -> None:
    if not fit["weights"]:
        st.caption("No weights of the instability's components rank the heads as the damage does.")
        return
    weights = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in fit["weights"].items())
    st.markdown(
        f"**Weights fitted to the damage:** {weights}. On heads and texts that did not make them they reach a Spearman "
        f"coefficient of {_interval(fit['fitted'], 'spearman')}; equal weights {_interval(fit['equal'], 'spearman')}. "
        f"The damage itself, measured on the two halves of the texts, agrees by {fit['halves']:+.2f}."
    )


def _head_table(heads: list[dict[str, Any]], score: str, title: str) -> None:
    rows = sorted(heads, key=lambda one: -one["damage"]["nats_per_token"])
    table = pd.DataFrame(
        {
            "layer": [one["layer"] for one in rows],
            "head": [one["head"] for one in rows],
            "damage": [one["damage"]["nats_per_token"] for one in rows],
            "from": [one["damage"]["low"] for one in rows],
            "to": [one["damage"]["high"] for one in rows],
            title: [one["scores"][score] for one in rows],
        }
    )
    numbers = {name: st.column_config.NumberColumn(format="%+.4f") for name in ("damage", "from", "to")}

    def chosen() -> None:
        places = st.session_state["head_damage"]["selection"]["rows"]
        if places:
            _open(rows[places[0]]["layer"], rows[places[0]]["head"])

    st.dataframe(
        table, key="head_damage", on_select=chosen, selection_mode="single-row", hide_index=True, height=330,
        column_config=numbers, alt="Heads by damage, with 95 % intervals",
    )  # fmt: skip


def _clicked(key: str) -> None:
    points = st.session_state[key]["selection"]["points"]
    if points and points[-1].get("customdata"):
        data = points[-1]["customdata"]
        layer, head = (data["0"], data["1"]) if isinstance(data, dict) else data[:2]
        _open(int(layer), int(head))


def _open(layer: int, head: int) -> None:
    choose("layer", layer)
    choose("head", head)


def _selected(heads: list[dict[str, Any]]) -> tuple[int, int] | None:
    """Return the head that all pages share, if it is one of these."""
    layer, head = (part_in_view(key, sorted({one[key] for one in heads})) for key in ("layer", "head"))
    known = any((one["layer"], one["head"]) == (layer, head) for one in heads)
    return (layer, head) if known and layer is not None and head is not None else None


def _capture_of(run: Run) -> dict[str, str]:
    named = run.spec.get("run")
    return {"run": str(named).rsplit("/", 1)[-1]} if named else {}


def _measured_on(result: dict[str, Any]) -> str:
    intact = result["intact"].get("likelihood") or result["intact"]
    draws = f", {result['draws']} masks each" if result["draws"] else ""
    return (
        f"{result['model']}: {with_error(intact)} nats per token as it is, on {result['texts']['texts']} texts{draws}."
    )


def _sinks(number: int) -> str:
    return "the strongest sink" if number == 1 else f"the {number} strongest sinks"


def _condition(one: dict[str, Any]) -> dict[str, Any]:
    row = {
        "blocked": plots.BLOCKED[one["kind"]], "sinks": one["top"],
        "head": "all" if one["head"] is None else f"{one['head'][0]}.{one['head'][1]}",
        "positions": one["positions"], "attention": one["mass"],
        "loss increase": one["difference"]["nats_per_token"], "from": one["difference"]["low"],
        "to": one["difference"]["high"], "KL": one["kl"]["nats_per_token"],
    }  # fmt: skip
    if one.get("agreement"):
        row["same tokens"] = one["agreement"]["same_tokens"]
    return row | {name: found["score"] for name, found in (one.get("tasks") or {}).items()}


def _agreement(one: dict[str, Any]) -> dict[str, Any]:
    return {"score": one["title"], "Spearman": _interval(one, "spearman"), "Kendall": _interval(one, "kendall")}


def _interval(one: dict[str, Any], name: str) -> str:
    if one[name] is None:
        return "–"
    if one[f"{name}_low"] is None:
        return f"{one[name]:+.2f}"
    return f"{one[name]:+.2f} ({one[f'{name}_low']:+.2f} to {one[f'{name}_high']:+.2f})"
