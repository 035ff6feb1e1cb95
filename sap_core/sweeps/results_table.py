"""Every measured plan of a model, from applied prunings and from sweeps (finished or running), in one table. No torch.

A plan's loss is its difference to the dense model on the texts and masks it was measured on, so plans measured on
different texts can be shown in one figure; their standard errors say how comparable they are. Plans measured on
the same texts and masks have the same ``protocol``; others are never pooled.
"""

from __future__ import annotations

import os
from typing import Any

import pandas as pd

from ..errors import InvalidInput
from ..runs.listing import RunSummary, list_runs
from ..runs.reading import open_run
from ..specs import SweepSpec
from ..texts.wording import changes_speed
from .folder import SweepFolder
from .grid import DENSE
from .table import sweep_table

COLUMNS = (
    "id", "run", "cell", "source", "label", "method", "pattern", "sparsity", "order", "allocation", "seed", "loss",
    "error", "texts", "protocol", "size", "memory", "speedup", "speedup_low", "speedup_high", "created", "spec",
)  # fmt: skip
TASK = "task_"
# What a result raises whose parts are not what this package writes.
MISFITS = (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError)


def measured_plans(model: str, root: str | os.PathLike | None = None) -> pd.DataFrame:
    """Return one row per measured plan of ``model``, newest source first; readable while a sweep runs.

    Columns: id (RUN, or RUN/CELL of a sweep), run, cell, source ("applied", or the sweep's name), label, method,
    pattern, sparsity, order, allocation, seed; loss (nats per token above dense) with its standard error over so many
    texts, and the protocol (which texts, tokens, masks and seed of both); size (share of the dense model's parameters
    that is left, zeros not counted), memory (bytes of the weights, zeros included), speedup (times dense; 1 where it is
    within the noise of its turns; NaN where it was not timed) with its 95 % interval; task_NAME (scores of sweeps that
    asked for them); created; spec (fields of a `PruneSpec`). Runs that are damaged are left out.
    """
    rows: list[dict[str, Any]] = []
    for run in list_runs(root):
        if run.model != model or run.state == "damaged":
            continue
        try:
            if run.kind == "prune" and run.state == "finished":
                rows += _applied(run)
            elif run.kind == "sweep":
                rows += _swept(run)
        except (InvalidInput, *MISFITS):  # damaged, or made by hand
            continue
    tasks = sorted({name for row in rows for name in row if name.startswith(TASK)})
    return pd.DataFrame(rows, columns=[*COLUMNS[:-2], *tasks, *COLUMNS[-2:]])


def _applied(summary: RunSummary) -> list[dict[str, Any]]:
    run = open_run(summary.path)
    result, totals = run.result, (run.result.get("plan") or {}).get("totals") or {}
    difference, cost = result.get("difference"), result.get("cost") or {}
    if not difference or "of_all_parameters" not in totals:
        return []
    pruned, dense = cost.get("pruned") or {}, cost.get("dense") or {}
    measured = {
        "loss": difference["nats_per_token"],
        "error": difference["standard_error"],
        "size": pruned["nonzero_parameters"] / dense["parameters"] if pruned else 1 - totals["of_all_parameters"],
        "memory": pruned.get("bytes"),
        **_speed(cost),
        **_measured_on(
            result.get("texts"), result["dense"]["likelihood"], result.get("draws"), result.get("text_seed")
        ),
    }
    found = {name: result["plan"].get(name, run.spec.get(name)) for name in ("pattern", "sparsity")}  # of a search, too
    return [_row(summary, "", "applied", run.name, run.spec) | found | measured]


def _swept(summary: RunSummary) -> list[dict[str, Any]]:
    run = open_run(summary.path, unfinished=True)
    sweep = SweepSpec.build(**run.spec)
    table = sweep_table(summary.path)
    dense = table[table["method"].isna()].iloc[0]
    specs = {cell["id"]: cell["spec"] for cell in run.read_json("sweep.json")["cells"]}
    record = SweepFolder(summary.path).record(DENSE)
    on = record["quality"] if record is not None else {}
    rows = []
    for cell in table[(table["state"] == "finished") & table["method"].notna()].to_dict(orient="records"):
        if pd.isna(cell.get("difference")):
            continue  # the dense model has not been measured yet
        source = summary.name if sweep.name else f"sweep {summary.created[:16].replace('T', ' ')}"
        measured = {
            "loss": cell["difference"],
            "error": cell["difference_error"],
            "size": cell["nonzero_parameters"] / dense["parameters"] if "nonzero_parameters" in cell else None,
            "memory": cell.get("bytes"),
            **_speed(cell),
            **_measured_on(on.get("texts"), {"texts": cell["texts"]}, sweep.draws, sweep.evaluation_seed),
        }
        tasks = {name: value for name, value in cell.items() if name.startswith(TASK)}
        rows.append(_row(summary, cell["id"], source, cell["id"], specs[cell["id"]]) | measured | tasks)
    return rows


def _speed(found: dict[str, Any]) -> dict[str, float | None]:
    """Return the speed over dense with its interval; 1 where the interval holds 1."""
    names = ("speedup", "speedup_low", "speedup_high")
    speed = {name: None if pd.isna(found.get(name)) else found[name] for name in names}
    if speed["speedup_low"] is not None and not changes_speed(speed):
        speed["speedup"] = 1.0
    return speed


def _measured_on(
    texts: dict[str, Any] | None, likelihood: dict[str, Any], draws: int | None, seed: int | None
) -> dict[str, Any]:
    """Return how many texts, and in words which ones and which masks.

    Args:
        texts: As of `TextSet.describe`; None in runs of earlier versions.
        likelihood: With the number of texts.
        draws: Masks per text.
        seed: Of texts and masks.
    """
    count = int(likelihood["texts"])
    if texts is None:
        return {"texts": count, "protocol": f"{count} texts, {draws or 'unknown'} masks each, seed {seed}"}
    named = f"{texts[texts['unit']]} {texts['unit']} of {texts['source']}, {texts['tokens']} tokens"
    return {"texts": count, "protocol": f"{named}, {draws or 'unknown'} masks each, seed {seed}"}


def _row(run: RunSummary, cell: str, source: str, label: str, spec: dict[str, Any]) -> dict[str, Any]:
    shown = {name: spec.get(name) for name in ("method", "pattern", "sparsity", "order", "allocation", "seed")}
    identity = f"{run.id}/{cell}" if cell else run.id
    return {"id": identity, "run": run.id, "cell": cell, "source": source, "label": label, **shown} | {
        "created": run.created,
        "spec": spec,
    }


def stamp(model: str, root: str | os.PathLike | None = None) -> tuple[Any, ...]:
    """Return a value that changes whenever `measured_plans` would: with every new run or cell."""
    found = []
    for run in list_runs(root):
        if run.model == model and run.kind in ("prune", "sweep"):
            count = sum(1 for _ in (run.path / "cells").glob("[!.]*.json")) if run.kind == "sweep" else 0
            found.append((run.id, run.state, run.name, count))
    return tuple(found)
