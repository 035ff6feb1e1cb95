"""Paths of runs: the root, new ids, and whether a run can be created there. A path may be an address."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidInput, RunProblem, UnknownOption
from ..storage import is_remote, remote_errors, storage_of, storage_path

if TYPE_CHECKING:
    from ..storage.paths import StoragePath

#: The runs that come with the package: each demo model writing a story. A run goes by its model's name.
#: Not taken from `specs.demo`, which costs 0.3 s to import; a test holds both to the same names.
RECORDED = ("demo:stories-diffusion", "demo:stories-ar")
_HERE = Path(__file__).resolve().parent
_RECORDED_HOMES = (_HERE / "recorded", _HERE.parents[1] / "assets" / "runs")  # an installed package's; a checkout's
LONGEST_NAME = 255  # bytes of one part of a path, on every file system in use


def runs_root(root: str | os.PathLike | None = None) -> StoragePath:
    """Return the folder of all runs: ``root``, else the environment's SAP_RUNS, else ``runs`` in the working folder."""
    return storage_path(root or os.environ.get("SAP_RUNS") or "runs")


def new_run_path(kind: str, root: str | os.PathLike | None = None) -> StoragePath:
    """Return a path for a new run under the root, sortable by time: ``20261124-033412-capture-3f9a1c``.

    Nothing is created.
    """
    return runs_root(root) / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{kind}-{secrets.token_hex(3)}"


def resolve_run(run: str | os.PathLike, root: str | os.PathLike | None = None) -> StoragePath:
    """Return the path meant by a path, by an address, by a run id under the root, or by the name of a recorded run.

    Raises:
        UnknownOption: ``demo:`` and no name of `RECORDED`.
    """
    if is_remote(run):
        return storage_path(run)
    if str(run).startswith("demo:"):
        return recorded_path(str(run))
    path = storage_path(run) if os.path.dirname(run) else Path(run).expanduser()
    if any(len(part.encode(errors="replace")) > LONGEST_NAME for part in path.parts):
        raise InvalidInput(f"'{str(run)[:80]}...' is longer than any file name can be; give the id or folder of a run.")
    if not path.exists() and path.name == str(run):
        candidate = runs_root(root) / path.name
        with remote_errors(candidate):
            if candidate.exists():
                return candidate
    return path.absolute()


def recorded_path(name: str) -> Path:
    """Return the folder of a recorded run: inside the installed package, or in ``assets/runs`` of a checkout.

    Raises:
        UnknownOption: no name of `RECORDED`.
        RunProblem: the package lacks it.
    """
    if name not in RECORDED:
        raise UnknownOption("recorded run", name, RECORDED)
    folder = name.removeprefix("demo:")
    folders = [home / folder for home in _RECORDED_HOMES]
    for home in folders:
        if (home / "manifest.json").is_file():
            return home
    raise RunProblem(
        f"The recorded run '{name}' is neither in {folders[0]} nor in {folders[1]}: reinstall the package."
    )


def recorded_name(path: os.PathLike) -> str | None:
    """Return the name of the recorded run in a folder; None for any other folder."""
    if is_remote(path):
        return None
    folder = Path(path)
    return f"demo:{folder.name}" if folder.parent in _RECORDED_HOMES else None


def check_new_run(path: str | os.PathLike) -> StoragePath:
    """Return ``path`` as an absolute path or address, after checking that a run can be created there.

    Raises:
        InvalidInput: something is there, or it is not writable.
        OperationFailed: the address can't be reached, or access is denied.
    """
    path = storage_path(path)
    storage_of(path).check_new(path)
    return path
