"""Detect whether a run is being written: by a lock that the system releases with the process, not by times.

The lock is on the run's folder; for a run at an address, which has no locks, on a file in the user's cache of the
machine that writes. A writer on another machine is detected by the times of its files only.
"""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RunProblem
from ..storage import storage_of
from ..storage.locks import Lock, is_locked
from .documents import WriterDocument, read_document
from .manifest import WRITER

if TYPE_CHECKING:
    from ..storage.paths import StoragePath

ALIVE_SECONDS = 600  # a run that another machine writes counts as alive for so long after its last sign of life
TRACES = (WRITER, "trajectory/0.zarr/zarr.json")  # what a writer touches


def this_machine() -> str:
    """Return the name by which writers on one machine recognise each other."""
    return socket.gethostname()


def hold_run(path: StoragePath, *, alone: bool = False) -> Lock | None:
    """Lock a run for this process; None where the file system has no locks, or another process has it.

    Raises:
        BlockingIOError: with ``alone``, where another process has it.
    """
    try:
        return Lock(_locked_path(path, make=True))
    except BlockingIOError:
        if alone:
            raise
    except OSError:
        pass
    return None


def writer_alive(path: StoragePath) -> bool:
    """Return whether the process that began writing this run is still running.

    One on another machine counts as running for `ALIVE_SECONDS` after it wrote, by the clock of the storage.
    """
    try:
        writer = read_document(path / WRITER, WriterDocument)
    except RunProblem:
        writer = {}  # it can't be read, but its lock can be seen
    if writer is None:
        return False
    if is_locked(_locked_path(path)):
        return True
    if writer.get("host", this_machine()) == this_machine():
        return False
    storage = storage_of(path)
    last = max(storage.modified(path / name) for name in TRACES)
    return storage.clock(path) - last < ALIVE_SECONDS


def _locked_path(path: StoragePath, *, make: bool = False) -> Path:
    if not storage_of(path).remote:
        return path
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sap-studio" / "writers"
    target = cache / hashlib.sha256(str(path).encode()).hexdigest()[:32]
    if make:
        cache.mkdir(parents=True, exist_ok=True)
        target.touch()
    return target
