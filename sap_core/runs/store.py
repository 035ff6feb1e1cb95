"""Write a run folder: spec first, artefacts as they are made, manifest last."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, InvalidInput, OperationFailed, RunProblem, SapError
from ..resources import is_full, is_out_of_memory, memory_problem
from ..specs import Spec
from ..storage import disk_problem, remote_errors, storage_of
from .files import json_text, read_json, write_json
from .listing import remove_run
from .manifest import (
    CHECKPOINT,
    MANIFEST,
    SCHEMA,
    SPEC,
    WRITER,
    list_files,
    versions,
)
from .paths import check_new_run, new_run_path
from .reading import Run, open_run
from .writers import hold_run, this_machine, writer_alive

if TYPE_CHECKING:
    from ..storage.locks import Lock
    from ..storage.paths import StoragePath

__all__ = ["Run", "RunWriter", "create_run", "open_run", "reopen_run"]


def create_run(
    kind: str, spec: Spec, *, out: str | os.PathLike | None = None, root: str | os.PathLike | None = None
) -> RunWriter:
    """Create a run folder and write its spec; use the result as a context manager.

    ``out`` is the folder or address to make; without it the run gets an id of its own under ``root`` (see `runs_root`).
    Validate the input before calling this, so that a refused input writes nothing. Leaving the context closes the run:
    normally as finished, on `Cancelled` or Ctrl-C as cancelled, on any other exception as failed (its message in
    result.json). On `InvalidInput` the folder is removed.

    Raises:
        InvalidInput: ``out`` exists already or can't be written.
        OperationFailed: the disk is full, or an address can't be written.
    """
    path = check_new_run(out if out is not None else new_run_path(kind, root))
    storage_of(path).create_folder(path, SPEC, json_text(spec).encode())
    try:
        return RunWriter(path, kind, spec)
    except BaseException:
        with contextlib.suppress(SapError):
            remove_run(path)
        raise


def reopen_run(run: str | os.PathLike, spec: Spec) -> RunWriter:
    """Open a run that is not finished to go on with it; use the result as a context manager.

    Its manifest goes, so that from now on it is unfinished until it is closed again; everything else stays.

    Raises:
        RunProblem: it is finished, or another process writes it.
        OperationFailed: the disk is full, or the system refuses.
    """
    opened = open_run(run, unfinished=True)
    path = opened.path
    busy = RunProblem(f"Run {path} is being written by another process; wait for it, or stop it first.")
    try:
        lock = hold_run(path, alone=True)
    except BlockingIOError:
        raise busy from None
    try:
        if lock is None and writer_alive(path):
            raise busy
        if opened.state == "finished":
            raise RunProblem(f"Run {path} is finished; there is nothing to go on with.")
        with remote_errors(path):
            try:
                (path / MANIFEST).unlink(missing_ok=True)
            except OSError as error:
                raise disk_problem(error, path) from error
        return RunWriter(path, opened.kind, spec, lock=lock, continues=opened)
    except BaseException:
        if lock is not None:
            lock.release()
        raise


class RunWriter:
    """An open run folder. ``path`` is the folder or address, ``id`` its name."""

    def __init__(
        self, path: StoragePath, kind: str, spec: Spec, *, lock: Lock | None = None, continues: Run | None = None
    ) -> None:
        self.path = path
        self.id = path.name
        self.kind = kind
        self.closed = False
        self.created = (continues and continues.created) or datetime.now(UTC).isoformat(timespec="seconds")
        self._begun = time.monotonic() - ((continues and continues.seconds) or 0.0)
        self._keep = continues is not None
        self._lock = lock or hold_run(path)
        if continues is None:
            write_json(path / SPEC, spec)
        write_json(
            path / WRITER,
            {
                "schema": SCHEMA,
                "id": self.id,
                "kind": kind,
                "created": self.created,
                "host": this_machine(),
                "pid": os.getpid(),
            },
        )

    def write_json(self, name: str, document: Any) -> StoragePath:
        """Write one JSON artefact, whole or not at all.

        Raises:
            OperationFailed: the disk is full.
        """
        target = self.path / name
        storage_of(self.path).make_folder(target.parent)
        write_json(target, document)
        return target

    def finish(self, result: dict[str, Any] | None = None, state: str = "finished") -> Run:
        """Close the run: write result.json, then the manifest. ``state``: finished, cancelled or failed.

        Raises:
            OperationFailed: the disk is full; the folder remains unfinished.
        """
        if self.closed:
            raise OperationFailed(f"Run {self.path} is closed already; a closed run is not written again.")
        self._check_there()
        if result is not None:
            self.write_json("result.json", result)
        try:
            files = list_files(self.path)
        except OSError as error:
            raise disk_problem(error, self.path) from error
        if state == "finished" and files.pop(CHECKPOINT, None):
            (self.path / CHECKPOINT).unlink()
        write_json(
            self.path / MANIFEST,
            {
                "schema": SCHEMA,
                "id": self.id,
                "kind": self.kind,
                "state": state,
                "created": self.created,
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": round(time.monotonic() - self._begun, 3),
                "versions": versions(),
                "files": files,
            },
        )
        self.closed = True
        self.release()
        return open_run(self.path)

    def _check_there(self, cause: BaseException | None = None) -> None:
        """Raise OperationFailed where the folder was removed or moved; what was written to its place since goes."""
        if storage_of(self.path).stamp(self.path / SPEC)[1] and (self._lock is None or self._lock.holds(self.path)):
            return
        self.closed = True
        self.release()
        if not storage_of(self.path).remote and not (self.path / SPEC).exists():
            shutil.rmtree(self.path, ignore_errors=True)
        raise OperationFailed(
            f"Run {self.path} was removed or moved while it was being written; it was not finished. Run it again."
        ) from cause

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if self.closed:
            return
        if error is not None:
            self._check_there(error)
        if error is None:
            self.finish()
        elif isinstance(error, InvalidInput) and not self._keep:
            with contextlib.suppress(SapError):  # the refusal is what counts
                remove_run(self.path)
        elif isinstance(error, (Cancelled, KeyboardInterrupt)):
            self._close_quietly("cancelled", None)
        else:
            self._close_quietly("failed", {"error": one_line(error)})
            if not isinstance(error, SapError) and is_full(error):
                raise disk_problem(error, self.path) from error

    def stop(self, result: dict[str, Any]) -> None:
        """Close as cancelled inside a handler: what ended the work is what counts, so this never raises."""
        self._close_quietly("cancelled", result)

    def _close_quietly(self, state: str, result: dict[str, Any] | None) -> None:
        """Close after a failure without hiding it: if even this can't be written, the folder remains unfinished."""
        try:
            if result is not None:
                earlier = read_json(self.path / "result.json")
                result = {**(earlier if isinstance(earlier, dict) else {}), **result}
            self.finish(result, state=state)
        except Exception:
            self.release()

    def release(self) -> None:
        """Release the lock; a run that is not closed remains unfinished. May be called again."""
        with contextlib.suppress(OperationFailed, OSError), remote_errors(self.path):
            (self.path / WRITER).unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def one_line(error: BaseException) -> str:
    """Return the message of an exception on one line; of other packages' exceptions with the type's name.

    A lack of memory is named as such.
    """
    if is_out_of_memory(error):
        return str(memory_problem(error))
    text = " ".join(str(error).split())
    if type(error).__module__.startswith("sap_core."):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
