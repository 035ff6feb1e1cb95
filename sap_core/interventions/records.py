"""The run folder of an intervention, which keeps what is measured piece by piece, so that it can be gone on with."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput
from ..models.fingerprint import model_files
from ..runs.files import plain, read_json
from ..runs.manifest import SPEC
from ..runs.paths import new_run_path
from ..runs.store import Run, RunWriter, create_run, open_run, reopen_run
from ..storage import local_folder

if TYPE_CHECKING:
    from ..models.info import ModelInfo
    from ..specs import Spec

PIECES = "pieces"


class Records:
    """The pieces of an unfinished run, each written whole or not at all; `get` measures what is not there yet."""

    def __init__(self, run: RunWriter) -> None:
        self._run = run

    def get(self, name: str, measure: Callable[[], Any]) -> Any:
        """Return the piece ``name``; where it is not stored yet, measure and store it."""
        found = read_json(self._run.path / PIECES / f"{name}.json")
        if found is None:
            found = plain(measure())
            self._run.write_json(f"{PIECES}/{name}.json", found)
        return found

    def finish(self, result: dict[str, Any]) -> Run:
        """Close the run; its pieces go, since the result has what they held."""
        shutil.rmtree(self._run.path / PIECES, ignore_errors=True)
        return self._run.finish(result)


def check_place(spec: Spec, out: str | os.PathLike | None) -> Run | None:
    """Return the finished run of this spec at ``out``, if there is one.

    Raises:
        InvalidInput: the folder holds something else, or is at an address.
    """
    if out is None:
        return None
    path = local_folder(out, "An intervention, which is resumed where it lies,")
    if not (path / SPEC).exists():
        return None
    found = open_run(path, unfinished=True)
    asked = plain(spec)
    other = [name for name in {*asked, *found.spec} if asked.get(name) != found.spec.get(name)]
    if other:
        raise InvalidInput(
            f"{path} holds a run of other settings ({', '.join(sorted(other))}); give the same to go on with it, or "
            "another --out."
        )
    return found if found.state == "finished" else None


@contextlib.contextmanager
def opened(spec: Spec, info: ModelInfo, out: str | os.PathLike | None) -> Iterator[Records]:
    """Create the run folder, or open an unfinished one to go on with.

    Raises:
        InvalidInput: as `create_run`; the model's weights have changed since the run was begun.
        RunProblem: as `reopen_run`.
    """
    path = local_folder(out, "An intervention") if out is not None else new_run_path(spec.kind)
    goes_on = (path / SPEC).exists()
    with reopen_run(path, spec) if goes_on else create_run(spec.kind, spec, out=path) as run:
        records, files = Records(run), model_files(info.path)
        if records.get("model", lambda: files) != files:
            raise InvalidInput(f"{path} was begun with other weights of {info.ref}; choose another folder.")
        yield records
