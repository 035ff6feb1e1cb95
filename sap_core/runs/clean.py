"""List and remove what killed commands left beside runs and results."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..storage import storage_of
from ..storage.leftovers import Leftover, find_leftovers, remove_leftover
from .paths import runs_root


def list_leftovers(
    folders: Iterable[str | os.PathLike] = (), *, root: str | os.PathLike | None = None
) -> list[Leftover]:
    """Return what killed commands left under the runs, beside this user's results, and in ``folders``.

    Files that a running process writes are not included; an interrupted replacement is completed.
    """
    runs = runs_root(root)
    near = [] if storage_of(runs).remote else [runs]
    return find_leftovers([*near, *(Path(folder).expanduser() for folder in folders)])


def clean_leftovers(leftovers: Iterable[Leftover], *, resumable: bool = False) -> list[Leftover]:
    """Remove leftovers and return the removed ones; those that could be continued only with ``resumable``."""
    return [one for one in leftovers if (resumable or not one.resumable) and remove_leftover(one)]
