"""Leftovers of killed processes: hidden, never part of a result, and told from work in progress by their locks."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .locks import is_locked
from .output import recover, remove_quietly
from .records import recorded

HALF = "half-written result"
REPLACED = "version that was replaced"
DELETED = "half-deleted run"
DOWNLOAD = "download of an archive"
STREAMED = "unfinished streamed pruning; the same command continues it"
_HEX = "[0-9a-f]{8}"
_NAMES = (
    (re.compile(rf"\.(?P<name>.+?)(\.{_HEX})?\.sap-(part|new)"), HALF),
    (re.compile(rf"\.(?P<name>.+)\.{_HEX}\.sap-old"), REPLACED),
    (re.compile(r"\.deleted-(?P<name>.+)-[0-9a-f]{6}"), DELETED),
    (re.compile(r"\.sap-download-(?P<name>.+)"), DOWNLOAD),
    (re.compile(r"\.(?P<name>.+)\.streamed"), STREAMED),
)


@dataclass(frozen=True)
class Leftover:
    """A hidden file or folder without a writer. ``resumable``: removing it loses finished work."""

    path: Path
    target: str
    what: str
    bytes: int

    @property
    def resumable(self) -> bool:
        """Whether a command would continue from it."""
        return self.what == STREAMED

    def to_dict(self) -> dict[str, Any]:
        """Return the leftover, JSON-able."""
        return {"path": str(self.path), "target": self.target, "what": self.what, "bytes": self.bytes}


def find_leftovers(folders: Iterable[Path] = ()) -> list[Leftover]:
    """Return what killed processes left in some folders, and in those that outputs of this user were written to.

    Replacements that were interrupted are completed first.
    """
    result = []
    for folder in dict.fromkeys([*(Path(folder).absolute() for folder in folders), *recorded()]):
        with contextlib.suppress(OSError):
            for path in sorted(folder.iterdir()):
                what = _of_ours(path)
                if what is not None:
                    result.append(what)
    return result


def remove_leftover(leftover: Leftover) -> bool:
    """Remove a leftover; return False if a process continues it, or the system refuses."""
    if is_locked(leftover.path):
        return False
    remove_quietly(leftover.path)
    return not os.path.lexists(leftover.path)


def _of_ours(path: Path) -> Leftover | None:
    for pattern, what in _NAMES:
        match = pattern.fullmatch(path.name)
        if match is None:
            continue
        target = path.with_name(match["name"])
        if path.name.endswith(".sap-new"):
            recover(target)
        ours = what != STREAMED or (path / "job.json").is_file() or (path / "weights").is_dir()
        if not ours or not os.path.lexists(path) or path.is_symlink() or is_locked(path):
            return None
        return Leftover(path, str(target), what, _bytes(path))
    return None


def _bytes(path: Path) -> int:
    """Return the size on the disk in bytes."""
    files = [path] if path.is_file() else [Path(parent, name) for parent, _, names in os.walk(path) for name in names]
    total = 0
    for file in files:
        with contextlib.suppress(OSError):
            total += os.lstat(file).st_blocks * 512
    return total
