"""Open a run folder; its model is not needed."""

from __future__ import annotations

import difflib
import os
import re
from datetime import UTC, datetime
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ..errors import RunProblem
from ..storage import remote_errors, storage_of
from .documents import (
    Document,
    MetaDocument,
    ResultDocument,
    SpecDocument,
    WriterDocument,
    read_document,
)
from .files import read_json
from .manifest import (
    META,
    RESULT,
    SPEC,
    WRITER,
    check_file,
    check_files,
    read_manifest,
)
from .paths import recorded_name, resolve_run, runs_root
from .writers import writer_alive

if TYPE_CHECKING:
    import xarray as xr

    from ..storage.paths import StoragePath


def open_run(run: str | os.PathLike, *, unfinished: bool = False, root: str | os.PathLike | None = None) -> Run:
    """Open a run by its folder, its address, or its id under the root.

    A closed run is checked against its manifest: every file there, with its size, the documents with their hash
    (`Run.verify` hashes everything). ``unfinished=True`` also opens a folder that is still being written, or whose
    writing was interrupted; its trajectory holds the steps written so far.

    Raises:
        RunProblem: missing, not a run, unfinished, truncated, or made by a newer version.
        OperationFailed: an address that can't be reached, or access is denied.
    """
    path = resolve_run(run, root)
    with remote_errors(path):
        there = path.is_dir()
    if not there:
        close = difflib.get_close_matches(PurePath(str(run)).name, _ids(path, root), n=1, cutoff=0.8)
        guess = f" Did you mean {close[0]}?" if close else " `sap runs list` shows the runs."
        raise RunProblem(f"Run {run} does not exist.{guess}")
    manifest = read_manifest(path)
    spec = read_document(path / SPEC, SpecDocument)
    if spec is None and manifest is None:
        raise RunProblem(f"{path} is not a run folder: it has neither spec.json nor manifest.json.")
    if spec is None:
        raise RunProblem(f"Run {path} is damaged: its spec.json is missing; delete it with `sap runs delete`.")
    if manifest is not None:
        check_files(path, manifest["files"])
    elif not unfinished:
        alive = writer_alive(path)
        again = f"go on with it (sap capture --resume {path.name})" if spec["kind"] == "capture" else "run it again"
        why = "it is still being written; wait for it" if alive else f"its work was interrupted; {again}"
        raise RunProblem(
            f"Run {path} is unfinished (no manifest.json): {why}, or open it as unfinished (--unfinished, in Python "
            "unfinished=True)."
        )
    return Run(path, spec, manifest)


class Run:
    """One opened run folder. Its ``spec`` is a dict, which `sap_core.specs.parse_spec` turns into a spec object."""

    def __init__(self, path: StoragePath, spec: dict[str, Any], manifest: dict[str, Any] | None) -> None:
        self.path = path
        self.spec = spec
        self.manifest = manifest

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, kind={self.kind!r}, state={self.state!r})"

    def _repr_html_(self) -> str:
        from ..plots.player import run_html

        return run_html(self)

    @property
    def id(self) -> str:
        """The folder's name; for a run that comes with the package its name there."""
        return recorded_name(self.path) or self.path.name

    @property
    def kind(self) -> str:
        """Kind of the action: capture, prune, evaluate ..."""
        return self.manifest["kind"] if self.manifest else self.spec.get("kind", "")

    @property
    def state(self) -> str:
        """State: finished, cancelled or failed; running or unfinished for a folder without a manifest."""
        if self.manifest:
            return self.manifest["state"]
        return "running" if writer_alive(self.path) else "unfinished"

    @property
    def created(self) -> str:
        """Time of creation: UTC, ISO 8601."""
        known = (self.manifest or usable_document(self.path / WRITER, WriterDocument)).get("created")
        return known or _time_of(self.path / SPEC)

    @property
    def seconds(self) -> float | None:
        """Duration; None while it is unknown."""
        return self.manifest.get("seconds") if self.manifest else None

    @property
    def meta(self) -> dict[str, Any]:
        """What the user gave: name, tags, notes."""
        return {"name": "", "tags": [], "notes": "", **usable_document(self.path / META, MetaDocument)}

    @property
    def name(self) -> str:
        """Name given by the user, else one made from the spec."""
        return self.meta["name"] or default_name(self.spec)

    @property
    def partial(self) -> str:
        """How far an unfinished capture came, such as "12 of 64 steps".

        "" for a finished one, and where no step was recorded.
        """
        if self.state == "finished":
            return ""
        try:
            trajectory = self.trajectory
        except RunProblem:
            return ""
        planned = self.result.get("steps_planned") or trajectory.attrs.get("steps_total")
        return f"{trajectory.sizes['step']} of {planned} steps"

    @property
    def result(self) -> dict[str, Any]:
        """Content of result.json; empty if there is none (yet).

        Raises:
            RunProblem: it is damaged.
        """
        return read_document(self.path / RESULT, ResultDocument) or {}

    @property
    def text(self) -> str:
        """Generated text of the first sample."""
        result = self.result
        return result.get("text") or next(iter(result.get("texts") or []), "")

    def read_json(self, name: str) -> Any:
        """Return a JSON artefact by its name in the folder, or None if there is none.

        Raises:
            RunProblem: as `check_file`.
        """
        self.check_file(name)
        return read_json(self.path / name)

    def check_file(self, name: str) -> None:
        """Compare one file of a closed run with the manifest.

        Raises:
            RunProblem: it differs from what was written.
        """
        entry = self.manifest["files"].get(name) if self.manifest else None
        if entry is not None:
            check_file(self.path, name, entry)

    def verify(self) -> None:
        """Hash every file and compare it with the manifest.

        Raises:
            RunProblem: at the first that differs.
        """
        if self.manifest:
            check_files(self.path, self.manifest["files"], full=True)

    @property
    def trajectory(self) -> xr.Dataset:
        """Trajectory of the first sample, dims step/layer/head/position, read lazily."""
        return self.trajectories[0]

    @property
    def trajectories(self) -> list[xr.Dataset]:
        """One dataset per sample.

        Raises:
            RunProblem: the run has none.
        """
        return self._closed_trajectories if self.manifest else self._open_trajectories()

    @cached_property
    def _closed_trajectories(self) -> list[xr.Dataset]:
        return self._open_trajectories()

    def _open_trajectories(self) -> list[xr.Dataset]:
        from ..trajectory.store import open_trajectory

        folder = self.path / "trajectory"
        if self.manifest:
            names = {name.split("/")[1] for name in self.manifest["files"] if name.startswith("trajectory/")}
        else:
            with remote_errors(folder):
                names = {store.name for store in folder.iterdir()} if folder.is_dir() else set()
        stores = sorted(int(name[:-5]) for name in names if re.fullmatch(r"\d{1,9}\.zarr", name))
        if not stores:
            raise RunProblem(f"Run {self.path} ({self.kind}, {self.state}) has no trajectory; open a capture run.")
        return [open_trajectory(folder / f"{n}.zarr", self._files_of(f"trajectory/{n}.zarr/")) for n in stores]

    def _files_of(self, folder: str) -> dict[str, list] | None:
        """Return the manifest's list of one folder, with names relative to it; None while the run is being written."""
        if not self.manifest:
            return None
        files = self.manifest["files"].items()
        return {name.removeprefix(folder): entry for name, entry in files if name.startswith(folder)}


def _ids(path: StoragePath, root: str | os.PathLike | None) -> list[str]:
    """Return ids that may have been meant: the runs under the root, if that can be read."""
    folder = runs_root(root)
    if storage_of(path).remote and path.parent != folder:
        return []
    try:
        return [item.name for item in folder.iterdir() if not item.name.startswith(".") and item.is_dir()]
    except OSError:
        return []


def usable_document(path: StoragePath, schema: type[Document]) -> dict[str, Any]:
    """Return an optional document; empty if there is none, or it can't be read."""
    try:
        return read_document(path, schema) or {}
    except RunProblem:
        return {}


def _time_of(path: StoragePath) -> str:
    modified = storage_of(path).modified(path)
    return datetime.fromtimestamp(modified, UTC).isoformat(timespec="seconds") if modified else ""


def default_name(spec: dict[str, Any]) -> str:
    """Return the name of a run that nobody has named."""
    if spec.get("name"):
        return spec["name"]
    kind, model = spec.get("kind"), spec.get("model", "")
    if kind == "capture":
        prompt = " ".join(next(iter(spec.get("prompts") or [""]), "").split())
        return f"{model}: {prompt[:48]}{'…' if len(prompt) > 48 else ''}" if prompt else f"{model}: no prompt"
    if kind == "prune":
        method = spec.get("method")
        if spec.get("preset") or spec.get("target_speedup"):
            return f"{model}: {method}, {spec.get('preset') or format(spec['target_speedup'], 'g') + ' x as fast'}"
        within = f" within {spec['budget']:.0%} loss" if spec.get("budget") is not None else ""
        return f"{model}: {method} {spec.get('sparsity') or 0:.0%} {spec.get('pattern')}{within}"
    if kind == "evaluate":
        return f"{model}" + (f" against {spec['baseline']}" if spec.get("baseline") else "")
    if kind == "heal":
        return f"{model} healed by {spec.get('teacher')}"
    if kind == "export":
        return f"{PurePath(str(spec.get('run'))).name} to {spec.get('out')}"
    if kind == "push":
        return f"{PurePath(str(spec.get('folder'))).name} to {spec.get('repo')} on the Hub"
    if kind == "ablate_sinks":
        return f"{model}: sinks blocked ({', '.join(map(str, spec.get('top') or ()))})"
    if kind == "ablate_heads":
        return f"{model}: every head left out"
    if kind == "sweep":
        return f"{model}: {spec.get('preset') or ', '.join(spec.get('methods') or ())} sweep"
    return str(kind)
