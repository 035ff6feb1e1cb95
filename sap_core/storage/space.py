"""Whether there is room for a result, asked before any work."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..byte_size import format_bytes
from ..errors import InvalidInput
from .paths import is_remote


def check_space(path: str | os.PathLike, needed: int, what: str, hint: str = "choose another folder") -> None:
    """Refuse what would not fit the disk of ``path``, which need not exist yet; of an address nothing is known.

    Args:
        path: a folder or an address.
        needed: bytes, an estimate from above.
        what: what needs them, as the message begins.
        hint: what else to do than to free space.

    Raises:
        InvalidInput: less is free.
    """
    if is_remote(path):
        return
    folder = Path(path).absolute()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        free = shutil.disk_usage(folder).free
    except OSError:  # whoever writes there says why it can't be
        return
    if free < needed:
        raise InvalidInput(
            f"{what} needs {format_bytes(needed)} but {folder} has {format_bytes(free)} free; "
            f"free some space or {hint}."
        )
