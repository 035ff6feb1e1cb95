"""Results for the pages, cached while the run folder is unchanged.

Every function takes a run's path and a stamp, which changes when the run does (see `stamp`), so that no outdated result
is shown. The numbers are computed by the packages below.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from ...choices.sink_rules import DEFAULT_RULE, SinkRule
from ...errors import SapError
from ...models.duration import machine_pace, step_flops
from ...models.info import ModelInfo
from ...models.inspection import inspect_model
from ...plots.view import View, make_view
from ...pruning.planning.head_damage import rank_by_damage
from ...runs.files import file_stamp
from ...runs.listing import RunSummary, list_runs, recorded_runs
from ...runs.reading import Run, open_run
from ...sinks.compare import Comparison, compare_runs
from ...sinks.instability import head_components, score_heads
from ...sinks.summary import sink_summary
from ...specs import CONVENTIONS
from ...storage import storage_of, storage_path
from ...sweeps.results_table import measured_plans
from ...sweeps.results_table import stamp as plans_stamp

Stamp = tuple[int | str, ...]


def stamp(path: str | Path) -> Stamp:
    """Return a value that changes with the run: its manifest's time and size, or its number of written steps."""
    path = storage_path(path)
    closed = file_stamp(path / "manifest.json")
    if any(closed) and storage_of(path).remote:  # a closed run does not change, and every look is a request
        return closed
    return sum((file_stamp(path / name) for name in ("trajectory/0.zarr/zarr.json", "result.json")), closed)


def runs_of(
    kind: str | None = None, *, states: tuple[str, ...] = ("finished", "cancelled"), model: str | None = None
) -> list[RunSummary]:
    """Return the runs of a kind in one of the states, newest first.

    Behind them stand the captures that come with the package (those of ``model`` if given), so that there is something
    to look at before the first run.
    """
    runs = [run for run in list_runs(kind=kind) if run.state in states]
    if kind == "capture":
        runs += [run for run in recorded_runs() if model in (None, run.model)]
    return runs


@st.cache_resource(max_entries=16, show_spinner=False)
def opened(path: str, stamp: Stamp, unfinished: bool = False) -> Run:
    """Open a run.

    Raises:
        RunProblem: as `open_run`.
    """
    return open_run(path, unfinished=unfinished)


def run_at(path: str | Path, *, unfinished: bool = False) -> Run:
    """Open the run at a path, once per state of its folder.

    Raises:
        RunProblem: as `open_run`.
    """
    return opened(str(path), stamp(path), unfinished)


@st.cache_data(max_entries=256, show_spinner=False)
def objective_of(path: str, stamp: Stamp) -> str:
    """Return the objective of the model of a capture run; empty if the run can't be opened."""
    try:
        return str(opened(path, stamp, True).trajectory.attrs.get("objective", ""))
    except (SapError, ValueError, TypeError):
        return ""


@st.cache_resource(max_entries=64, show_spinner=False)
def view_of(
    path: str,
    stamp: Stamp,
    sample: int,
    layer: int | None = None,
    head: int | None = None,
    rule: SinkRule | None = None,
    with_sink_rate: bool = False,
) -> View:
    """Return the attention of one head or mean with its sinks; ``rule`` None: without sinks."""
    trajectory = opened(path, stamp, True).trajectories[sample]
    return make_view(trajectory, layer, head, rule, with_sink_rate=with_sink_rate)


@st.cache_data(max_entries=16, show_spinner="Ranking the heads …")
def components_of(path: str, stamp: Stamp, rule: SinkRule) -> pd.DataFrame:
    """Return the components of every head's instability, mean over the run's samples."""
    run = opened(path, stamp, True)
    parts = [head_components(trajectory, rule) for trajectory in run.trajectories]
    return pd.concat(parts).groupby(["layer", "head"], as_index=False).mean()


def ranking_of(path: str | Path, rule: SinkRule = DEFAULT_RULE, weights: Any = None) -> pd.DataFrame:
    """Return the ranking of `sap_core.rank_heads`; changed weights do not read the run again."""
    return score_heads(components_of(str(path), stamp(path), rule), weights)


def head_order(path: str | Path) -> pd.DataFrame:
    """Return the order in which heads go by a run: a capture's instability, or the damage that a measurement found."""
    run = opened(str(path), stamp(path))
    return rank_by_damage(run) if run.kind == "ablate_heads" else ranking_of(path)


@st.cache_data(max_entries=32, show_spinner="Looking for sinks …")
def summary_of(path: str, stamp: Stamp, rule: SinkRule = DEFAULT_RULE, sample: int = 0) -> dict[str, Any]:
    """Return `sap_core.sink_summary` of a run."""
    return sink_summary(opened(path, stamp, True), rule, sample=sample)


@st.cache_resource(max_entries=8, show_spinner="Comparing …")
def comparison_of(runs: tuple[tuple[str, Stamp], ...], rule: SinkRule) -> Comparison:
    """Return `sap_core.compare_runs` of runs given as (path, stamp)."""
    return compare_runs(*(opened(path, stamp, True) for path, stamp in runs), rule=rule)


@st.cache_resource(max_entries=16, ttl=600, show_spinner="Reading the model's configuration …")
def model_info(ref: str, **conventions: Any) -> ModelInfo:
    """Return `sap_core.inspect_model` of a model.

    Raises:
        ModelProblem: it can't be used.
    """
    return inspect_model(ref, **conventions)


def measured_of(model: str) -> pd.DataFrame:
    """Return `sap_core.sweeps.measured_plans` of a model, read again after a new plan or cell."""
    return _measured(model, plans_stamp(model))


@st.cache_data(max_entries=16, show_spinner=False)
def _measured(model: str, stamp: tuple) -> pd.DataFrame:
    return measured_plans(model)


def paces(objective: str, device: str) -> list[tuple[str, float]]:
    """Return (model, operations per second) of the newest captures of this kind of model on this device."""
    found = []
    for run in list_runs(kind="capture")[:50]:
        pace = _pace(str(run.path), stamp(run.path), objective, device) if run.state == "finished" else None
        if pace:
            found.append((run.model, pace))
        if len(found) == 8:
            break
    return found


@st.cache_data(max_entries=256, show_spinner=False)
def _pace(path: str, stamp: Stamp, objective: str, device: str) -> float | None:
    try:
        run = open_run(path)
        spec, seconds = run.spec, run.result.get("step_seconds")
        info = model_info(spec["model"], **{name: spec.get(name) for name in CONVENTIONS})
        if not seconds or info.objective != objective or spec.get("device") != device:
            return None
        batch, guided = len(spec["prompts"]), bool(spec.get("guidance"))
        return step_flops(info, length=int(spec["length"]), batch=batch, guidance=guided) / seconds
    except (SapError, KeyError, TypeError, ValueError, ArithmeticError):  # not as this package writes it
        return None


@st.cache_data(ttl=3600, show_spinner=False)
def probed_pace() -> float:
    """Return `machine_pace`, measured once an hour."""
    return machine_pace()
