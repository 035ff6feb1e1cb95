"""Check runs for damage: every file against the sizes and hashes of its manifest."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..errors import RunProblem, SapError
from ..storage import remote_errors, storage_of
from .listing import describe_run, is_run, list_runs
from .manifest import OUTSIDE, damages, read_manifest
from .paths import resolve_run

if TYPE_CHECKING:
    from ..storage.paths import StoragePath

MOST = 20  # problems of one run that are named


@dataclass(frozen=True)
class RunCheck:
    """The result of `check_run`; ``problems`` is empty if every file is as it was written."""

    id: str
    path: str
    state: str
    files: int
    bytes: int
    problems: tuple[str, ...]

    @property
    def intact(self) -> bool:
        """Whether nothing is damaged."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the result, JSON-able."""
        return asdict(self) | {"problems": list(self.problems), "intact": self.intact}


def check_run(run: str | os.PathLike, *, root: str | os.PathLike | None = None) -> RunCheck:
    """Hash every file of a run and compare it with the manifest; an unfinished run has none and is reported as such.

    Raises:
        RunProblem: no such run.
        OperationFailed: an address that can't be reached.
    """
    path = resolve_run(run, root)
    with remote_errors(path):
        if not is_run(path):
            raise RunProblem(f"Run {run} does not exist. `sap runs list` shows the runs.")
    summary = describe_run(path)
    problems = [summary.problem] if summary.problem else []
    count = size = 0
    try:
        manifest = read_manifest(path)
    except RunProblem as problem:
        manifest = None
        problems = problems or [str(problem)]
    if manifest is not None:
        files = manifest["files"]
        count, size = len(files), sum(entry[0] for entry in files.values())
        problems += _problems(path, files)
    return RunCheck(path.name, str(path), summary.state, count, size, tuple(problems))


def check_runs(
    root: str | os.PathLike | None = None, *, tell: Callable[[int, int, str], None] = lambda *_: None
) -> list[RunCheck]:
    """Check all runs under the root; ``tell`` is called with (done, total, id) before each."""
    runs = list_runs(root)
    result = []
    for number, run in enumerate(runs):
        tell(number, len(runs), run.id)
        result.append(check_run(run.path))
    return result


def _problems(path: StoragePath, files: dict[str, list]) -> list[str]:
    try:
        result = [f"{name} {what}" for name, what in damages(path, files, full=True)]
        extra = sorted(set(storage_of(path).sizes(path)) - set(files) - OUTSIDE)
        result += [f"{name} is not in the manifest" for name in extra]
    except (OSError, SapError) as error:
        result = [" ".join(str(error).split())]
    return result[:MOST] + ([f"and {len(result) - MOST} more"] if len(result) > MOST else [])
