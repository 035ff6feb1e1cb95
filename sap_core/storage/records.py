"""The folders that outputs of this user were written to, kept in the user's cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path


def record(folder: Path) -> None:
    """Remember that outputs are written to a folder, so that leftovers there are found."""
    with contextlib.suppress(OSError):
        target = _records() / hashlib.sha256(os.fsencode(folder)).hexdigest()[:32]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(os.fsencode(folder))


def recorded() -> list[Path]:
    """Return the folders of `record` that still exist."""
    result = []
    with contextlib.suppress(OSError):
        for file in sorted(_records().iterdir()):
            with contextlib.suppress(OSError, ValueError):
                folder = Path(os.fsdecode(file.read_bytes()[:4096]))
                if folder.is_absolute() and folder.is_dir():
                    result.append(folder)
                else:
                    file.unlink()
    return result


def _records() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sap-studio" / "outputs"
