"""``sap sweep``: one model pruned in many ways, all measured alike."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..choices.methods import METHODS
from ..errors import InvalidInput
from ..sweeps.presets import PRESETS
from . import options as opt
from .console import (
    cell,
    emit,
    table,
    work,
)


def register(app: typer.Typer) -> None:
    app.command()(sweep)


def sweep(
    model: opt.Model,
    out: Annotated[
        str | None, typer.Option(help="A new folder, or one to go on with.", show_default="among the runs")
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help=f"Comma-separated, of {', '.join(METHODS)}.", show_default=False)
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help=f"Instead of methods: {', '.join(PRESETS)}.", show_default=False)
    ] = None,
    sparsities: Annotated[str | None, typer.Option(help="Comma-separated shares.", show_default="0.5")] = None,
    patterns: Annotated[
        str | None,
        typer.Option(help="unstructured, N:M; an N:M pattern has its own sparsity.", show_default="unstructured"),
    ] = None,
    orders: Annotated[str | None, typer.Option(help="auto, sequential, one_shot.", show_default="auto")] = None,
    allocations: Annotated[
        str | None,
        typer.Option(help="How layers share the sparsity, such as uniform,ramp,owl.", show_default="uniform"),
    ] = None,
    compensations: Annotated[
        str | None,
        typer.Option(help="Patterns heads, channels: none, bias, weights.", show_default="none"),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Of calibration texts and noise.", show_default="0")] = None,
    skip_invalid: Annotated[
        bool | None,
        typer.Option("--skip-invalid", help="Leave out what can't be, with the reason, instead of refusing."),
    ] = None,
    calibration: opt.Calibration = None,
    samples: opt.Samples = None,
    calibration_length: opt.CalibrationLength = None,
    calibration_subset: opt.CalibrationSubset = None,
    calibration_split: opt.CalibrationSplit = None,
    calibration_column: opt.CalibrationColumn = None,
    noise_levels: opt.NoiseLevels = None,
    text: Annotated[
        str | None, typer.Option(help="FILE.txt to measure on.", show_default="held-out demo stories")
    ] = None,
    texts: Annotated[int | None, typer.Option(help="Texts to measure on.", show_default="32")] = None,
    draws: Annotated[int | None, typer.Option(help="Mask draws per text (diffusion).", show_default="8")] = None,
    tasks: Annotated[
        int | None, typer.Option(help="Examples of each demo task, others for each seed; 0: none.", show_default="0")
    ] = None,
    speed: Annotated[
        bool | None, typer.Option("--speed", help="Time generation, in turns with the dense model.")
    ] = None,
    evaluation_seed: Annotated[
        int | None, typer.Option(help="Of texts and masks to measure on.", show_default="0")
    ] = None,
    executor: Annotated[str, typer.Option(help="local (processes here) or ray.")] = "local",
    workers: opt.Workers = None,
    address: opt.Address = None,
    gpus_per_worker: opt.GpusPerWorker = None,
    cpus_per_worker: opt.CpusPerWorker = None,
    name: opt.Name = None,
    dtype: opt.Dtype = None,
    device: opt.Device = None,
    trust_remote_code: opt.RemoteCode = None,
    mask_token_id: opt.MaskToken = None,
    causal: opt.Causal = None,
    shift_logits: opt.ShiftLogits = None,
    block_size: opt.BlockSize = None,
    as_json: opt.Json = False,
) -> None:
    """Prune a model in every combination and measure each on the same texts and masks.

    The same command goes on where an earlier one was stopped or killed; finished combinations are never run again.
    """
    from ..specs import SweepSpec

    spec = SweepSpec.build(
        model=model,
        **opt.given(
            methods=listed("methods", methods),
            preset=preset,
            sparsities=listed("sparsities", sparsities, float),
            patterns=listed("patterns", patterns),
            orders=listed("orders", orders),
            allocations=listed("allocations", allocations),
            compensations=listed("compensations", compensations),
            seeds=listed("seeds", seeds, int),
            skip_invalid=skip_invalid,
            calibration=opt.calibration_source(calibration),
            samples=samples,
            calibration_length=calibration_length,
            calibration_subset=calibration_subset,
            calibration_split=calibration_split,
            calibration_column=calibration_column,
            noise_levels=noise_levels,
            text=opt.absolute(text),
            texts=texts,
            draws=draws,
            tasks=tasks,
            speed=speed,
            evaluation_seed=evaluation_seed,
            name=name,
            dtype=dtype,
            device=device,
            trust_remote_code=trust_remote_code,
            mask_token_id=mask_token_id,
            causal=causal,
            shift_logits=shift_logits,
            block_size=block_size,
        ),
    )
    with work("sweep") as progress:
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


def listed(what: str, text: str | None, kind: Callable[[str], Any] = str) -> tuple[Any, ...] | None:
    """``"0.3,0.5"`` as (0.3, 0.5); None stays None.

    Raises:
        InvalidInput: nothing between two commas, or no number where one is needed.
    """
    if text is None:
        return None
    try:
        parts = tuple(kind(part) for part in re.split(r"\s*,\s*", text.strip()))
    except ValueError:
        raise InvalidInput(f"--{what} is '{text}'; expected numbers with commas between them, such as 0,1,2.") from None
    if "" in parts:
        raise InvalidInput(f"--{what} is '{text}'; expected values with commas between them.")
    return parts


def document(done: Any) -> dict[str, Any]:
    """What --json prints."""
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
    """Mean change against dense per combination, what failed and was left out, and where the table is."""
    summary = _plain(_summary(done))
    for row in summary:
        row["change"] = f"{row['mean']:+.4g}"
        row["interval"] = f"{row['low']:+.4g} to {row['high']:+.4g}"
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
    """Rows with None for what is missing."""
    return frame.astype(object).where(frame.notna(), None).to_dict(orient="records")
