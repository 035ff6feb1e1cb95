"""Writing a run folder: spec first, artefacts as they come, manifest last."""

from __future__ import annotations

import contextlib
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, InvalidInput, OperationFailed, SapError
from ..specs import Spec
from ..storage import disk_problem, is_full, remote_errors, storage_of
from .files import json_text, read_json, write_json
from .listing import remove_run
from .manifest import (
    MANIFEST,
    SCHEMA,
    SPEC,
    WRITER,
    list_files,
    versions,
)
from .paths import check_new_run, new_run_path
from .reading import Run, open_run
from .writers import hold_run, this_machine

if TYPE_CHECKING:
    from ..storage.paths import StoragePath

__all__ = ["Run", "RunWriter", "create_run", "open_run"]


def create_run(
    kind: str, spec: Spec, *, out: str | os.PathLike | None = None, root: str | os.PathLike | None = None
) -> RunWriter:
    """Make a run folder and write its spec; use the result as a context manager.

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


class RunWriter:
    """An open run folder. ``path`` is the folder or address, ``id`` its name."""

    def __init__(self, path: StoragePath, kind: str, spec: Spec) -> None:
        self.path = path
        self.id = path.name
        self.kind = kind
        self.closed = False
        self.created = datetime.now(UTC).isoformat(timespec="seconds")
        self._begun = time.monotonic()
        self._lock = hold_run(path)
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
        """Write one JSON artefact, whole or not at all. Raises OperationFailed when the disk is full."""
        target = self.path / name
        storage_of(self.path).make_folder(target.parent)
        write_json(target, document)
        return target

    def finish(self, result: dict[str, Any] | None = None, state: str = "finished") -> Run:
        """Close the run: result.json, then the manifest. ``state``: finished, cancelled or failed.

        Raises:
            OperationFailed: the disk is full; the folder then stays unfinished.
        """
        if self.closed:
            raise OperationFailed(f"Run {self.path} is closed already; a closed run is not written again.")
        if result is not None:
            self.write_json("result.json", result)
        try:
            files = list_files(self.path)
        except OSError as error:
            raise disk_problem(error, self.path) from error
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

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if self.closed:
            return
        if error is None:
            self.finish()
        elif isinstance(error, InvalidInput):
            with contextlib.suppress(SapError):  # the refusal is what counts
                remove_run(self.path)
        elif isinstance(error, (Cancelled, KeyboardInterrupt)):
            self._close_quietly("cancelled", None)
        else:
            self._close_quietly("failed", {"error": one_line(error)})
            if isinstance(error, OSError) and is_full(error):
                raise disk_problem(error, self.path) from error

    def _close_quietly(self, state: str, result: dict[str, Any] | None) -> None:
        """Close after a failure without hiding it: when even this can't be written, the folder stays unfinished."""
        if result is not None:
            earlier = read_json(self.path / "result.json")
            result = {**(earlier if isinstance(earlier, dict) else {}), **result}
        try:
            self.finish(result, state=state)
        except (OperationFailed, OSError):
            self.release()

    def release(self) -> None:
        """Stop being the writer; a run that is not closed then stays unfinished. May be called again."""
        with contextlib.suppress(OperationFailed, OSError), remote_errors(self.path):
            (self.path / WRITER).unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def one_line(error: BaseException) -> str:
    """Return the message of an exception on one line; foreign ones with their type's name."""
    text = " ".join(str(error).split())
    if type(error).__module__.startswith("sap_core."):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
