"""`sweep`: prune one model in many ways and measure all of them alike, resuming what is unfinished. No torch here."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..choices.methods import METHODS
from ..models.fingerprint import model_files
from ..models.inspection import inspect_model
from ..progress import ProgressCallback, silent
from ..specs import SweepSpec, asked_spec
from ..storage import check_space
from .executors import ProgressBoard, make_executor
from .folder import SweepFolder
from .grid import Grid, Skipped, make_grid
from .table import sweep_table, write_table
from .tasks import Task

if TYPE_CHECKING:
    import pandas as pd

CELL_BYTES = 256 << 10  # of a cell's record and its rows of the table, generously
RUNNER = "sap_core.sweeps.cell:CellRunner"
_TABLE_PACE = 5.0  # seconds between two versions of the table while cells finish


@dataclass(frozen=True)
class Sweep:
    """Result of `sweep`.

    Attributes:
        ran: Ids of the cells that this call finished.
        failed: Error of each cell that failed.
        skipped: The combinations that were left out, with the reason.
    """

    path: Path
    table: pd.DataFrame
    ran: tuple[str, ...]
    failed: dict[str, str]
    skipped: tuple[Skipped, ...]

    @property
    def complete(self) -> bool:
        """Whether every cell is finished."""
        return bool((self.table["state"] == "finished").all())


def sweep(
    spec: SweepSpec | None = None,
    *,
    out: str | os.PathLike | None = None,
    executor: str | Any = "local",
    workers: int | None = None,
    address: str = "auto",
    gpus_per_worker: float | None = None,
    cpus_per_worker: float = 1,
    progress: ProgressCallback = silent,
    **fields: Any,
) -> Sweep:
    """Run every cell of a sweep that is not finished yet.

    Args:
        spec: The settings; or give its fields instead.
        out: A new folder, or that of the same sweep, which is continued; None creates one among the runs.
        executor: "local" (processes on this machine), "ray" (a cluster), or an object like `LocalExecutor`.
        workers: Number of processes or actors. Default: one per GPU, or one; on Ray as many as fit.
        address: Of the Ray cluster.
        gpus_per_worker: GPUs, or fractions of one, that each actor reserves.
        cpus_per_worker: Processors that each actor reserves.
        progress: Called after every unit of work.
        **fields: Fields of `SweepSpec`: model, methods, sparsities, patterns, seeds ...

    Raises:
        InvalidInput: the request can't be carried out; raised before any work, with nothing written.
        OperationFailed: the model does not load in the workers; the disk is full.
        Cancelled: from ``progress``; finished cells are kept, and the same call continues.
    """
    spec = asked_spec(SweepSpec.build, None, spec, fields)
    grid, files = check_sweep(spec)
    folder = SweepFolder(_place(out))
    folder.check(spec, files)
    check_space(folder.path, CELL_BYTES * len(grid.cells), "The sweep's records", "give another --out")
    pool = make_executor(
        executor, spec.device, workers=workers, address=address,
        gpus_per_worker=gpus_per_worker, cpus_per_worker=cpus_per_worker,
    )  # fmt: skip
    with contextlib.closing(pool), folder.claim(spec, grid, files) as writer:
        ran = _run(folder, grid, spec, pool, progress) if writer is not None else []
        table = write_table(folder.path) if writer is not None else sweep_table(folder.path)
        if writer is not None and (table["state"] == "finished").all():
            folder.close()
            writer.finish({"cells": len(table), "skipped": len(grid.skipped)})
        return Sweep(folder.path, table, tuple(ran), folder.failures(), grid.skipped)


def check_sweep(spec: SweepSpec) -> tuple[Grid, dict[str, str]]:
    """Return the cells of a sweep and the fingerprint of its model's files, after every check that needs no work.

    Raises:
        InvalidInput: as `sweep`.
    """
    info = inspect_model(spec.model, **spec.inspecting)
    grid = make_grid(spec, info)
    if any(METHODS[cell.spec.method].needs_calibration for cell in grid.cells if cell.spec is not None):
        spec.calibration_source.check()
    if spec.text_source is not None:
        spec.text_source.check()
    return grid, model_files(info.path)


def _run(folder: SweepFolder, grid: Grid, spec: SweepSpec, workers: Any, progress: ProgressCallback) -> list[str]:
    """Run the cells that are not finished and return the ids of those that now are."""
    finished = folder.finished()
    tasks = [
        Task(cell.id, cell.group, {"id": cell.id, "spec": cell.spec and cell.spec.model_dump(mode="json")})
        for cell in grid.cells
        if cell.id not in finished
    ]
    ran: list[str] = []
    if not tasks:
        return ran
    board = ProgressBoard("sweep", len(grid.cells), len(grid.cells) - len(tasks), progress)
    written = time.monotonic()
    write_table(folder.path)
    try:
        with contextlib.closing(workers.run(tasks, RUNNER, spec.model_dump(mode="json"))) as events:
            for event in events:
                if event.kind == "finished":
                    folder.finish(event.task.id, event.record)
                    ran.append(event.task.id)
                elif event.kind == "failed":
                    folder.fail(event.task.id, event.error)
                if event.kind in ("finished", "failed") and time.monotonic() - written > _TABLE_PACE:
                    write_table(folder.path)
                    written = time.monotonic()
                board.show(event)
    except BaseException:
        with contextlib.suppress(Exception):  # what ended the sweep is what counts
            write_table(folder.path)
        raise
    return ran


def _place(out: str | os.PathLike | None) -> Path:
    if out is not None:
        return Path(out).expanduser().absolute()
    from ..runs.paths import new_run_path

    return new_run_path("sweep")
