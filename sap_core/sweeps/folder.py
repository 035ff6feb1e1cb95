"""A sweep on disk: one file per finished cell, written whole or not at all, by one driver at a time. No torch here.

    <folder>/
        spec.json          what was asked (a `SweepSpec`), as in any run folder
        sweep.json         all cells, what was skipped and why, what the model's files looked like
        cells/ID.json      one finished cell; once there it is never written again
        failed/ID.json     why a cell could not be done; gone when a later try succeeds
        table.csv, table.parquet   one row per cell, brought up to date while the sweep runs
        manifest.json      written last, when every cell is finished; until then the sweep can be gone on with

Only the driver writes here; workers hand their results to it, so a folder need not be visible to other machines.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
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
_ENDS = 1 << 20  # bytes read at either end of a weight file for its fingerprint


class SweepFolder:
    """The folder of one sweep; `claim` it to write."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = local_folder(path, "A sweep, which is resumed where it lies,")
        self._lock: Any = None

    @contextlib.contextmanager
    def claim(self, spec: SweepSpec, grid: Grid, model_files: dict[str, str]) -> Iterator[RunWriter | None]:
        """Make the folder, or take up the sweep it holds; nobody else writes meanwhile. Nothing is written before all
        checks have passed.

        Yields:
            What closes the run, or None where the sweep is finished already.

        Raises:
            InvalidInput: the folder holds something else, another sweep, a sweep of other weights, or a sweep that
                is running.
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
        """InvalidInput unless the folder is new, empty, or this very sweep."""
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
        """Give the folder free; nothing of the claim stays in it."""
        if self._lock is not None:
            (self.path / LOCK).unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def finished(self) -> set[str]:
        """Ids of the cells that are done; one whose record is damaged is to be done again."""
        names = (path.stem for path in (self.path / "cells").glob("[!.]*.json"))
        return {name for name in names if self.record(name) is not None}

    def record(self, cell: str) -> dict[str, Any] | None:
        """Return what was measured in a finished cell; None where it is not finished."""
        return usable_document(self.path / "cells" / f"{cell}.json", CellDocument) or None

    def finish(self, cell: str, record: dict[str, Any]) -> None:
        """Keep the result of a cell for good.

        Raises:
            OperationFailed: the disk is full.
        """
        path = self.path / "cells" / f"{cell}.json"
        if self.record(cell) is None:
            write_json(path, record)
        (self.path / "failed" / f"{cell}.json").unlink(missing_ok=True)

    def fail(self, cell: str, error: str) -> None:
        """Keep why a cell could not be done; it is tried again when the sweep is gone on with."""
        write_json(self.path / "failed" / f"{cell}.json", {"id": cell, "error": error})

    def failures(self) -> dict[str, str]:
        """id -> error of the cells that could not be done."""
        paths = sorted((self.path / "failed").glob("[!.]*.json"))
        documents = (usable_document(path, FailedDocument) for path in paths)
        return {document["id"]: document["error"] for document in documents if document}


def model_files(path: str | None) -> dict[str, str]:
    """Name -> fingerprint of a model's weight files and config, cheap for any size: length, first and last MiB.

    Empty for a model that is not on this machine.
    """
    if path is None:
        return {}
    found = {}
    for file in sorted(Path(path).iterdir()):
        if file.suffix == ".safetensors" or file.name == "config.json":
            size = file.stat().st_size
            seen = hashlib.sha256(str(size).encode())
            with open(file, "rb") as stream:
                seen.update(stream.read(_ENDS))
                stream.seek(max(0, size - _ENDS))
                seen.update(stream.read(_ENDS))
            found[file.name] = seen.hexdigest()[:16]
    return found
