"""`sweep`: prune one model in many ways, measure all alike, resume where it was. No torch in this process."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..choices.methods import METHODS
from ..models.inspection import inspect_model
from ..progress import ProgressCallback, silent
from ..specs import SweepSpec, asked_spec
from .executors import ProgressBoard, make_executor
from .folder import SweepFolder, model_files
from .grid import Grid, Skipped, make_grid
from .table import sweep_table, write_table
from .tasks import Task

if TYPE_CHECKING:
    import pandas as pd

RUNNER = "sap_core.sweeps.cell:CellRunner"
_TABLE_PACE = 5.0  # seconds between two versions of the table while cells finish


@dataclass(frozen=True)
class Sweep:
    """A sweep's folder after a call of `sweep`: its table, ids of the cells this call finished (``ran``), those that
    failed with their error, and the combinations left out with their reason."""

    path: Path
    table: pd.DataFrame
    ran: tuple[str, ...]
    failed: dict[str, str]
    skipped: tuple[Skipped, ...]

    @property
    def complete(self) -> bool:
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

    Give a ``spec`` or its fields (model, methods, sparsities, patterns, seeds ...). ``out``: a new folder, or that of
    the same sweep, which is gone on with; None makes one among the runs. ``executor``: "local" (``workers`` processes
    on this machine; default one per GPU, or one), "ray" (``address`` of a cluster; ``workers`` actors, by default as
    many as fit, each reserving ``cpus_per_worker`` and ``gpus_per_worker``), or an object like `LocalExecutor`.

    Raises:
        InvalidInput: anything that can't be, before any work and with nothing written.
        OperationFailed: the model does not load in the workers; the disk is full.
        Cancelled: from ``progress``; finished cells are kept, calling again goes on.
    """
    spec = asked_spec(SweepSpec.build, None, spec, fields)
    grid, files = check_sweep(spec)
    folder = SweepFolder(_place(out))
    folder.check(spec, files)
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
    """Run what is not finished; ids of what is now."""
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
        write_table(folder.path)
        raise
    return ran


def _place(out: str | os.PathLike | None) -> Path:
    if out is not None:
        return Path(out).expanduser().absolute()
    from ..runs.paths import new_run_path

    return new_run_path("sweep")
