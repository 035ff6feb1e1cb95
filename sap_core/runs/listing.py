"""List runs, and delete them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput, RunProblem
from ..storage import remote_errors, storage_of, storage_path
from .documents import MetaDocument, ResultDocument, SpecDocument, read_document
from .files import file_stamp
from .manifest import MANIFEST, META, RESULT, SPEC, read_manifest
from .paths import RECORDED, recorded_path, resolve_run, runs_root
from .reading import Run, usable_document
from .writers import writer_alive

if TYPE_CHECKING:
    from ..storage.paths import StoragePath


@dataclass(frozen=True)
class RunSummary:
    """One line of the list. ``state`` is finished, cancelled, failed, running, unfinished or damaged."""

    id: str
    path: StoragePath
    kind: str
    state: str
    created: str
    seconds: float | None
    name: str
    model: str
    tags: tuple[str, ...]
    notes: str
    bytes: int
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the summary, JSON-able."""
        return asdict(self) | {"path": str(self.path), "tags": list(self.tags)}


def list_runs(root: str | os.PathLike | None = None, *, kind: str | None = None) -> list[RunSummary]:
    """Return all runs under the root, newest first; of one kind if given.

    A damaged folder is listed as such, not raised.

    Raises:
        OperationFailed: the root is an address that can't be reached, or access is denied.
    """
    folder = runs_root(root)
    with remote_errors(folder):
        if not folder.is_dir():
            return []
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    with ThreadPoolExecutor(storage_of(folder).requests_at_once) as pool:
        summaries = list(pool.map(_if_run, paths))
    found = [run for run in summaries if run is not None and kind in (None, run.kind)]
    return sorted(found, key=lambda run: (run.created, run.id), reverse=True)


def recorded_runs() -> list[RunSummary]:
    """Return the captures that come with the package, with their names as ids; an incomplete package has none."""
    found = []
    for name in RECORDED:
        try:
            found.append(describe_run(recorded_path(name)))
        except RunProblem:
            continue
    return found


def _if_run(path: StoragePath) -> RunSummary | None:
    return describe_run(path) if is_run(path) else None


def describe_run(path: str | os.PathLike) -> RunSummary:
    """Return the summary of one folder, from its small documents alone."""
    path = storage_path(path)
    problem, size, spec = "", 0, {}
    try:
        spec, manifest, size = _closed(str(path), file_stamp(path / SPEC), file_stamp(path / MANIFEST))
        run = Run(path, spec, manifest)
        state = run.state
        problem = _damage_aside(path)
    except RunProblem as error:
        problem, state, run = str(error), "damaged", Run(path, usable_document(path / SPEC, SpecDocument), None)
    meta = run.meta
    return RunSummary(
        id=run.id,
        path=path,
        kind=run.kind,
        state=state,
        created=run.created,
        seconds=run.seconds,
        name=run.name,
        model=run.spec.get("model") or "",
        tags=tuple(meta["tags"]),
        notes=meta["notes"],
        bytes=size,
        problem=problem,
    )


def delete_run(run: str | os.PathLike, *, root: str | os.PathLike | None = None) -> None:
    """Remove a run, whatever its state, except while it is being written.

    Raises:
        RunProblem: missing, not a run, or still being written.
        OperationFailed: the system refuses.
    """
    path = check_deletable(run, root=root)
    try:
        remove_run(path)
    except InvalidInput:
        raise RunProblem(f"Run {run} does not exist any more.") from None


def remove_run(path: StoragePath) -> None:
    """Remove what is at a path.

    At an address, where nothing can be moved aside first, the order is: the manifest, so that nobody takes the rest for
    a finished run; then the rest; the spec last, so that what an interruption leaves is still listed and can be
    deleted.
    """
    storage_of(path).remove(path, first={MANIFEST}, last={SPEC})


def check_deletable(run: str | os.PathLike, *, root: str | os.PathLike | None = None) -> StoragePath:
    """Return the folder of a run that may be deleted.

    Raises:
        RunProblem: missing, not a run, or still being written.
    """
    path = resolve_run(run, root)
    if str(run) in RECORDED:
        raise RunProblem(f"Run {run} comes with the package and is not deleted.")
    with remote_errors(path):
        if not path.is_dir():
            raise RunProblem(f"Run {run} does not exist. `sap runs list` shows the runs.")
        if path.is_symlink() or not is_run(path):
            raise RunProblem(f"{path} is not a run folder (no spec.json, no manifest.json); nothing was deleted.")
    if not any(file_stamp(path / MANIFEST)) and writer_alive(path):
        raise RunProblem(f"Run {path} is still being written; cancel it first, then delete it.")
    return path


def is_run(path: StoragePath) -> bool:
    """Return whether a folder is meant to be a run; one that can't be inspected counts as a damaged run."""
    with remote_errors(path):
        try:
            return path.is_dir() and any((path / name).exists() for name in (SPEC, MANIFEST))
        except PermissionError:
            return not storage_of(path).remote


def _damage_aside(path: StoragePath) -> str:
    """Return what is wrong with the documents that are not needed to open a run; "" if nothing is."""
    for name, schema in ((META, MetaDocument), (RESULT, ResultDocument)):
        try:
            _checked(str(path / name), file_stamp(path / name), schema)
        except RunProblem as error:
            return str(error)
    return ""


@lru_cache(maxsize=8192)
def _checked(path: str, stamp: tuple, schema: type) -> None:
    """Check a document once for every state of its file."""
    if any(stamp):
        read_document(storage_path(path), schema)


@lru_cache(maxsize=4096)
def _closed(path: str, _spec: tuple, _manifest: tuple) -> tuple[dict, dict | None, int]:
    """Return spec, manifest without its file list, and bytes; cached while both files are unchanged."""
    folder = storage_path(path)
    spec = read_document(folder / SPEC, SpecDocument)
    manifest = read_manifest(folder)
    if spec is None:
        raise RunProblem(f"Run {path} is damaged: its spec.json is missing; delete it with `sap runs delete`.")
    if manifest is None:
        return spec, None, 0
    size = sum(entry[0] for entry in manifest["files"].values())
    return spec, {key: value for key, value in manifest.items() if key != "files"}, size
