"""Start, follow and continue a sweep on the page, and read the ablation."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from ...choices.allocations import ALLOCATIONS
from ...choices.methods import METHODS, ORDERS
from ...errors import InvalidInput, SapError
from ...models.info import ModelInfo
from ...runs.listing import RunSummary
from ...specs import AUTO, SweepSpec, parse_spec
from ...specs.options import help_of
from ...sweeps.grid import make_grid
from ...sweeps.table import summarise, sweep_table
from ..prune.plan_form import COMPENSATIONS, PATTERNS
from ..widgets import jobs, results
from ..widgets.fields import number_of
from ..widgets.formatting import duration, format_time, plain_text

GRID, ABLATION = "grid", "ablation"
KINDS = {GRID: "Methods × patterns × sparsities", ABLATION: "Ablation: what each part of sink-aware pruning adds"}


def sweeps_of(model: str) -> list[RunSummary]:
    """Return all sweeps of a model, newest first, in any state."""
    return [run for run in results.runs_of("sweep", states=("finished", "running", "unfinished", "cancelled", "failed"))
            if run.model == model]  # fmt: skip


def pick_sweep(model: str, info: ModelInfo, loading: dict[str, Any]) -> SweepSpec | None:
    """Show the form with its number of cells, and return its spec; None, with the reason shown, if it is invalid."""
    kind = st.radio(
        "What to measure", list(KINDS), format_func=KINDS.__getitem__, key="sweep_kind", horizontal=True,
        help="Every combination is one pruning of the model, measured on the same texts and masks.",
    )  # fmt: skip
    fields: dict[str, Any] = {"preset": ABLATION} if kind == ABLATION else _pick_methods(info)
    left, middle, right = st.columns([2, 1, 1])
    patterns = left.multiselect(
        "Patterns", list(PATTERNS), ["unstructured"], format_func=PATTERNS.__getitem__, key="sweep_patterns",
        help=help_of(SweepSpec, "patterns"),
    )  # fmt: skip
    compensations = middle.multiselect(
        "Compensation", list(COMPENSATIONS), ["none"], format_func=COMPENSATIONS.__getitem__, key="sweep_compensations",
        help=help_of(SweepSpec, "compensations"),
    )  # fmt: skip
    shares = right.text_input(
        "Sparsities", "0.3, 0.5, 0.7", key="sweep_sparsities", help=help_of(SweepSpec, "sparsities")
    )
    with st.expander("Seeds, texts, tasks, timing", icon=":material/settings:"):
        fields |= _pick_measuring()
    try:
        spec = SweepSpec.build(
            model=model,
            patterns=tuple(patterns),
            compensations=tuple(compensations),
            sparsities=_numbers(shares),
            skip_invalid=True,
            **fields,
            **loading,
        )
        grid = make_grid(spec, info)
    except SapError as error:
        st.error(plain_text(str(error)))
        return None
    seconds = _seconds_per_cell(model)
    known = f", about {duration(seconds * len(grid.cells))} by the pace of earlier sweeps" if seconds else ""
    st.markdown(f"**{len(grid.cells)}** models to measure, the dense one among them{known}.")
    if grid.skipped:
        with st.expander(f"{len(grid.skipped)} combinations can't be and are left out"):
            st.dataframe(
                [{"combination": one.id, "why": one.reason} for one in grid.skipped],
                hide_index=True,
                alt="Combinations that are left out",
            )
    return spec


def _pick_methods(info: ModelInfo) -> dict[str, Any]:
    usable = [
        name
        for name, entry in METHODS.items()
        if not entry.ranks_heads and (not entry.needs_mask_token or info.mask_token_id is not None)
    ]
    left, middle, right = st.columns([2, 1, 1])
    default = [name for name in ("magnitude", "wanda", "sink") if name in usable]
    return {
        "methods": tuple(
            left.multiselect(
                "Methods", usable, default, format_func=lambda name: METHODS[name].title, key="sweep_methods",
                help=help_of(SweepSpec, "methods"),
            )
        ),
        "orders": tuple(
            middle.multiselect(
                "Orders", [AUTO, *ORDERS], [AUTO], key="sweep_orders", help=help_of(SweepSpec, "orders")
            )
        ),
        "allocations": tuple(
            right.multiselect(
                "Layer allocations", [name for name in ALLOCATIONS if name not in ("table", "instability")],
                ["uniform"], format_func=lambda name: ALLOCATIONS[name].title, key="sweep_allocations",
                help=help_of(SweepSpec, "allocations"),
            )
        ),
    }  # fmt: skip


def _pick_measuring() -> dict[str, Any]:
    first, second, third, fourth = st.columns(4)
    numbers = {"samples": "Calibration samples", "texts": "Texts", "draws": "Masks per text", "tasks": "Task examples"}
    seeds = first.number_input("Number of seeds", 1, 20, 1, key="sweep_seeds", help=help_of(SweepSpec, "seeds"))
    fields: dict[str, Any] = {
        name: column.number_input(label, key=f"sweep_{name}", **number_of(SweepSpec, name, most=4096))
        for (name, label), column in zip(numbers.items(), (second, third, fourth, first), strict=True)
    }
    name = second.text_input("Name", key="sweep_name", placeholder="optional", help=help_of(SweepSpec, "name"))
    speed = third.toggle("Time generation", True, key="sweep_speed", help=help_of(SweepSpec, "speed"))
    return {"seeds": tuple(range(int(seeds))), **fields, "speed": speed, "name": name}


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.replace(";", ",").split(",") if part.strip())
    except ValueError:
        raise InvalidInput(f"Sparsities are '{text}'; expected numbers with commas, such as 0.3, 0.5.") from None


def _seconds_per_cell(model: str) -> float | None:
    """Return the mean duration of the newest sweep that has a finished pruned cell."""
    for run in sweeps_of(model):
        try:
            seconds = sweep_table(run.path)["seconds"].dropna()
        except SapError:
            continue
        if len(seconds):
            return float(seconds.mean())
    return None


def unfinished(model: str) -> None:
    """Show interrupted sweeps, each with a button that continues it; finished cells are not repeated."""
    busy = (job := jobs.job_of("sweep")) is not None and job.open
    for run in sweeps_of(model):
        if run.state in ("finished", "running") or busy:
            continue
        table = sweep_table(run.path)
        done = int((table["state"] == "finished").sum())
        left, right = st.columns([4, 1], vertical_alignment="center")
        left.markdown(
            f"**{plain_text(run.name)}** of {format_time(run.created)} UTC stopped after {done} of {len(table)} cells."
        )
        if right.button("Go on", key=f"resume_{run.id}", width="stretch", help="Finished cells are not run again."):
            spec = parse_spec(results.run_at(run.path, unfinished=True).spec)
            if jobs.submit(spec, "sweep", run_dir=str(run.path)):
                st.rerun()


def ablation(model: str) -> None:
    """Show the effect of each part, from the ablation sweeps of this model; nothing if there are none."""
    runs = [run for run in sweeps_of(model) if results.run_at(run.path, unfinished=True).spec.get("preset") == ABLATION]
    if not runs:
        st.caption("No ablation of this model yet: choose it below as what to measure.")
        return
    known = {run.id: run for run in runs}
    chosen = st.selectbox(
        "Ablation", list(known), key="ablation_run", help="Sweeps that took the method apart, newest first.",
        format_func=lambda name: f"{known[name].name} · {format_time(known[name].created)} ({known[name].state})",
    )  # fmt: skip
    table = sweep_table(known[chosen].path)
    found = summarise(table) if table["difference"].notna().any() else pd.DataFrame()
    if found.empty:
        st.info("None of its cells is measured yet.")
        return
    st.dataframe(
        ablation_rows(found),
        hide_index=True,
        column_config={
            "sparsity": st.column_config.NumberColumn(format="percent"),
            **{
                name: st.column_config.NumberColumn(format="%+.3f")
                for name in ("loss increase (nats/token)", "from", "to")
            },
        },
        alt="Ablation: loss increase with and without each part of the method",
    )
    st.caption("Mean over seeds with a 95 % interval of seeds and texts; lower is better.")


def ablation_rows(found: pd.DataFrame) -> pd.DataFrame:
    """Return `summarise`'s table with the parts of each variant."""
    rows = []
    for record in found.to_dict(orient="records"):
        method = METHODS[record["method"]]
        order = record.get("order")
        plain = not isinstance(order, str)
        sequential = method.sequential if plain or order == AUTO else order == "sequential"
        rows.append(
            {
                "variant": method.title,
                "sparsity": record["sparsity"],
                "loss increase (nats/token)": record["mean"],
                "from": record["low"],
                "to": record["high"],
                "looks at inputs": _tick(method.needs_calibration),
                "noise": _tick(method.inputs == "noised"),
                "sink mask": _tick(method.sinks != "none"),
                "temporal factor": _tick(method.sinks == "lasting"),
                "sequential": _tick(sequential and method.needs_calibration),
                "pattern": record["pattern"],
                "seeds": record["seeds"],
            }
        )
    return pd.DataFrame(rows)


def _tick(value: bool) -> str:
    return "yes" if value else "–"
