"""Files of a sweep: one per finished cell, each written whole or not at all, by one driver at a time. No torch here.

    <folder>/
        spec.json          what was asked (a `SweepSpec`), as in any run folder
        sweep.json         all cells, what was skipped and why, fingerprints of the model's files
        cells/ID.json      one finished cell; never written again
        failed/ID.json     why a cell failed; removed when a later try succeeds
        table.csv, table.parquet   one row per cell, updated while the sweep runs
        manifest.json      written last, when every cell is finished; until then the sweep can be continued

Only the driver writes here; workers send their results to it, so a folder need not be visible to other machines.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from ..errors import InvalidInput
from ..runs.documents import SpecDocument
from ..runs.files import plain, write_json
from ..runs.manifest import MANIFEST
from ..runs.reading import usable_document
from ..runs.store import RunWriter
from ..specs import SweepSpec
from ..storage import disk_problem, local_folder
from .documents import CellDocument, FailedDocument, SweepDocument
from .grid import Grid

SCHEMA = 1
LOCK = "driver.lock"


class SweepFolder:
    """The folder of one sweep; `claim` it to write."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = local_folder(path, "A sweep, which is resumed where it lies,")
        self._lock: Any = None

    @contextlib.contextmanager
    def claim(self, spec: SweepSpec, grid: Grid, model_files: dict[str, str]) -> Iterator[RunWriter | None]:
        """Create the folder, or continue the sweep it holds, locked for this process.

        Nothing is written before all checks have passed.

        Yields:
            The writer that finishes the run, or None if the sweep is finished already.

        Raises:
            InvalidInput: the folder holds something else, another sweep, a sweep of other weights, or a sweep that is
                running.
        """
        self.check(spec, model_files)
        from filelock import FileLock, Timeout

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / LOCK)
            lock.acquire(timeout=0)
        except Timeout:
            raise InvalidInput(f"{self.path}: another process runs this sweep; wait for it, or stop it.") from None
        except OSError as error:
            raise disk_problem(error, self.path) from error
        self._lock = lock
        try:
            self.check(spec, model_files)  # what came between the first look and the lock
            if (self.path / MANIFEST).exists():
                yield None
                return
            writer = RunWriter(self.path, "sweep", spec)
            document = {
                "schema": SCHEMA,
                "cells": [{"id": cell.id, "spec": cell.spec} for cell in grid.cells],
                "skipped": [{"id": one.id, "reason": one.reason} for one in grid.skipped],
                "model_files": model_files,
            }
            for name in ("cells", "failed"):
                (self.path / name).mkdir(exist_ok=True)
            write_json(self.path / "sweep.json", document)
            try:
                yield writer
            finally:
                writer.release()
        finally:
            self.close()

    def check(self, spec: SweepSpec, model_files: dict[str, str]) -> None:
        """Raise InvalidInput unless the folder is new, empty, or holds this very sweep."""
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise InvalidInput(f"{self.path} is a file; give a folder for the sweep.")
        if all(path.name == LOCK for path in self.path.iterdir()):
            return
        held = usable_document(self.path / "spec.json", SpecDocument)
        if held.get("kind") != "sweep":
            raise InvalidInput(f"{self.path} holds something else than a sweep; choose another folder.")
        other = [
            f"{name} {held.get(name)} there, {value} here"
            for name, value in plain(spec).items()
            if held.get(name) != value
        ]
        if other:
            raise InvalidInput(
                f"{self.path} holds another sweep ({'; '.join(other)}); give the same settings to go on with it, "
                "or another folder."
            )
        known = usable_document(self.path / "sweep.json", SweepDocument).get("model_files", model_files)
        if known != model_files:
            raise InvalidInput(
                f"{self.path} was begun with other weights of {spec.model}: the two can't be in one table; "
                "choose another folder."
            )

    def close(self) -> None:
        """Release the folder; the lock's file is removed."""
        if self._lock is not None:
            (self.path / LOCK).unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def finished(self) -> set[str]:
        """Return the ids of the finished cells; a cell with a damaged record is not among them."""
        names = (path.stem for path in (self.path / "cells").glob("[!.]*.json"))
        return {name for name in names if self.record(name) is not None}

    def record(self, cell: str) -> dict[str, Any] | None:
        """Return the record of a finished cell; None if it is not finished."""
        return usable_document(self.path / "cells" / f"{cell}.json", CellDocument) or None

    def finish(self, cell: str, record: dict[str, Any]) -> None:
        """Store the result of a cell permanently.

        Raises:
            OperationFailed: the disk is full.
        """
        path = self.path / "cells" / f"{cell}.json"
        if self.record(cell) is None:
            write_json(path, record)
        (self.path / "failed" / f"{cell}.json").unlink(missing_ok=True)

    def fail(self, cell: str, error: str) -> None:
        """Store why a cell failed; it is tried again when the sweep is continued."""
        write_json(self.path / "failed" / f"{cell}.json", {"id": cell, "error": error})

    def failures(self) -> dict[str, str]:
        """Return the error of each failed cell, by id."""
        paths = sorted((self.path / "failed").glob("[!.]*.json"))
        documents = (usable_document(path, FailedDocument) for path in paths)
        return {document["id"]: document["error"] for document in documents if document}
