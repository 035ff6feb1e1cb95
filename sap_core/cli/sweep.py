"""``sap sweep``: prune one model in many ways and measure all of them alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..specs import SweepSpec
from . import options as opt
from .console import (
    cell,
    emit,
    table,
    work,
)


def register(app: typer.Typer) -> None:
    """Add the command of this file to ``app``."""
    app.command()(sweep)


@opt.from_specs(SweepSpec)
def sweep(
    fields: dict[str, Any],
    out: Annotated[
        str | None, typer.Option(help="A new folder, or one to go on with.", show_default="among the runs")
    ] = None,
    executor: Annotated[str, typer.Option(help="local (processes here) or ray.")] = "local",
    workers: opt.Workers = None,
    address: opt.Address = None,
    gpus_per_worker: opt.GpusPerWorker = None,
    cpus_per_worker: opt.CpusPerWorker = None,
    as_json: opt.Json = False,
) -> None:
    """Prune a model in every combination and measure each on the same texts and masks.

    The same command continues where an earlier one was stopped or killed; finished combinations are never run again.
    """
    from ..runs.paths import new_run_path

    spec = SweepSpec.build(**fields)
    out = out if out is not None else str(new_run_path("sweep"))
    with work("sweep", lambda: f"what is finished is kept; the same command goes on, with --out {out}") as progress:
        from ..sweeps import sweep as run

        done = run(
            spec,
            out=out,
            executor=executor,
            progress=progress,
            **opt.given(
                workers=workers,
                address=address,
                gpus_per_worker=gpus_per_worker,
                cpus_per_worker=cpus_per_worker,
            ),
        )
    emit(document(done), as_json, lambda: lines(done))
    if not done.complete:
        raise typer.Exit(1)


def document(done: Any) -> dict[str, Any]:
    """Return the --json document."""
    return {
        "out": str(done.path),
        "complete": done.complete,
        "ran": list(done.ran),
        "failed": done.failed,
        "skipped": [{"id": one.id, "reason": one.reason} for one in done.skipped],
        "table": str(Path(done.path) / "table.csv"),
        "cells": _plain(done.table),
        "summary": _plain(_summary(done)),
    }


def lines(done: Any) -> list[str]:
    """Return the mean change against dense per combination, failed and skipped cells, and the table's path."""
    summary = _plain(_summary(done))
    for record in summary:
        record["change"] = f"{record['mean']:+.4g}"
        record["interval"] = f"{record['low']:+.4g} to {record['high']:+.4g}"
    named = {"method": "method", "pattern": "pattern", "sparsity": "sparsity", "seeds": "seeds"}
    options = [key for key in (summary[0] if summary else ()) if key in ("order", "allocation")]
    measured = {"change": "nats/token vs dense", "interval": "95 % interval"}
    shown = table(summary, named | {key: key for key in options} | measured) if summary else []
    counts = done.table["state"].value_counts()
    shown += ["", ", ".join(f"{count} {state}" for state, count in counts.items()) + f"; {len(done.ran)} run now."]
    shown += [f"Failed: {key}: {error}" for key, error in done.failed.items()]
    shown += [f"Left out: {one.id}: {one.reason}" for one in done.skipped]
    dense = done.table[done.table["method"].isna()]["nats_per_token"]
    if dense.notna().any():
        shown.append(f"Dense: {cell(float(dense.iloc[0]))} nats/token.")
    if not done.complete:
        shown.append("The same command tries what is missing again.")
    return [*shown, f"Table: {done.path}/table.csv"]


def _summary(done: Any) -> Any:
    from ..sweeps import summarise

    return summarise(done.table)


def _plain(frame: Any) -> list[dict[str, Any]]:
    """Return the rows of a table, with None for missing values."""
    return frame.astype(object).where(frame.notna(), None).to_dict(orient="records")
