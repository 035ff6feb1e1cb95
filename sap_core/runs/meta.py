"""What a user adds to a run afterwards: a name, tags, notes."""

from __future__ import annotations

import os
from collections.abc import Iterable

from ..errors import InvalidInput, RunProblem
from .files import write_json
from .manifest import META
from .paths import recorded_name
from .reading import Run, open_run

LONGEST_NAME = 200
LONGEST_NOTES = 20_000


def update_run(
    run: str | os.PathLike,
    *,
    name: str | None = None,
    tags: Iterable[str] | None = None,
    notes: str | None = None,
    root: str | os.PathLike | None = None,
) -> Run:
    """Change the name, tags or notes of a run; None leaves them unchanged. Works in every state of the run.

    Raises:
        RunProblem: no such run, or one that comes with the package.
        InvalidInput: a name or notes beyond their length.
    """
    opened = open_run(run, unfinished=True, root=root)
    if recorded_name(opened.path):
        raise RunProblem(f"Run {opened.id} comes with the package and stays as it is; record one of your own.")
    meta = opened.meta
    if name is not None:
        meta["name"] = " ".join(name.split())
    if tags is not None:
        meta["tags"] = sorted({clean for tag in tags if (clean := " ".join(tag.split()))}, key=str.lower)
    if notes is not None:
        meta["notes"] = notes.strip()
    if len(meta["name"]) > LONGEST_NAME:
        raise InvalidInput(f"The name has {len(meta['name'])} characters; at most {LONGEST_NAME} are kept.")
    if len(meta["notes"]) > LONGEST_NOTES:
        raise InvalidInput(f"The notes have {len(meta['notes'])} characters; at most {LONGEST_NOTES} are kept.")
    write_json(opened.path / META, meta)
    return opened
