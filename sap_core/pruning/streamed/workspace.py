"""Files of an unfinished streamed pruning, from which it continues after the last finished block.

Everything is in one folder: `weights/`, the checkpoint as far as it is written; one JSON file per stage, replaced whole
when a block is finished; and arrays. The array that a block reads is not the one it writes, so an interrupted block is
simply processed again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import InvalidInput
from ...file_locks import try_lock
from ...runs.files import plain, read_json, write_json
from .tensors import read_into, write_from

JOB = "job.json"


class Workspace:
    """The working folder ``path`` of one pruning, described by ``job``; use `workspace` to open one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.weights = path / "weights"

    def done(self, stage: str) -> list[Any]:
        """Return the result of each finished block of a stage, in order."""
        return read_json(self.path / f"{stage}.json") or []

    def finish(self, stage: str, found: list[Any]) -> None:
        """Record that the first len(found) blocks of a stage are finished."""
        write_json(self.path / f"{stage}.json", found)

    def array(self, name: str, shape: Sequence[int], dtype: torch.dtype) -> DiskArray:
        """Open an array of this shape and dtype, created if it does not exist."""
        return DiskArray(self.path / f"{name}.array", tuple(shape), dtype)

    def drop(self, name: str) -> None:
        """Delete an array that is not needed any more."""
        (self.path / f"{name}.array").unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)


class DiskArray:
    """An array in a file with ``shape[0]`` rows, read and written in ranges of whole rows."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self._path, self.shape, self.dtype = path, shape, dtype
        self._row = dtype.itemsize
        for size in shape[1:]:
            self._row *= size
        if not path.exists() or path.stat().st_size != shape[0] * self._row:
            with path.open("wb") as file:
                file.truncate(shape[0] * self._row)

    def read(self, start: int, stop: int) -> Tensor:
        """Return the rows from start to stop, on the CPU."""
        result = torch.empty((stop - start, *self.shape[1:]), dtype=self.dtype)
        with self._path.open("rb", buffering=0) as file:
            read_into(file, start * self._row, result)
        return result

    def write(self, start: int, rows: Tensor) -> None:
        """Write rows from ``start`` on."""
        with self._path.open("r+b", buffering=0) as file:
            write_from(file, start * self._row, rows.detach().to("cpu", self.dtype).contiguous())

    def sync(self) -> None:
        """Wait until everything written is on the disk."""
        with self._path.open("r+b") as file:
            os.fsync(file.fileno())


@contextmanager
def workspace(path: Path, job: dict[str, Any]) -> Iterator[Workspace]:
    """Yield the workspace at ``path``, new or left by an interrupted run of the same ``job``, locked for this process.

    It is kept when the context ends; whoever finishes the job removes it.

    Raises:
        InvalidInput: it belongs to another job, or another process works there.
    """
    path.mkdir(parents=True, exist_ok=True)
    with (path / "lock").open("ab") as lock:
        if not try_lock(lock):
            raise InvalidInput(f"Another process is writing in {path}; wait for it, or choose another folder.")
        work = Workspace(path)
        begun = read_json(path / JOB) if work.weights.is_dir() else None  # without: it was finished and moved away
        if begun is None:
            for old in (*path.glob("*.json"), *path.glob("*.array")):
                old.unlink()
            work.weights.mkdir(exist_ok=True)
            write_json(path / JOB, job)
        elif begun != plain(job):
            different = sorted(key for key in begun.keys() | job.keys() if begun.get(key) != plain(job).get(key))
            raise InvalidInput(
                f"{path} holds the unfinished result of another pruning (other {', '.join(different)}); give the same "
                "settings to go on with it, remove it to begin anew, or choose another folder."
            )
        yield work
