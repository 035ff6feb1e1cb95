"""Small documents on disk: written whole or not at all, and read with errors that say what to do."""

from __future__ import annotations

import errno
import json
import math
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import OperationFailed

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_json(path: Path, document: Any) -> None:
    """Write ``document`` to ``path`` in one step: a reader sees the old file or the new one, never a half.

    Numpy scalars and arrays, paths, tuples and sets become plain JSON; NaN and infinities become null.

    Raises:
        OperationFailed: the disk is full or refuses; no half-written file stays behind.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    document = plain(document)
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(document, file, ensure_ascii=False, indent=1, allow_nan=False)
            file.write("\n")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise disk_problem(error, path) from error


def read_json(path: Path) -> Any:
    """The document in ``path``, or None when there is none or it is not (yet) JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def plain(value: Any) -> Any:
    """``value`` made of dict, list, str, int, finite float, bool and None only."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json"))
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    raise TypeError(f"{type(value).__name__} can't be written as JSON")


def disk_problem(error: OSError, path: Path) -> OperationFailed:
    """The one-line error for a write that the system refused."""
    if error.errno in FULL:
        return OperationFailed(
            f"No space left on the disk while writing {path}; free some space (for example `sap runs delete`) "
            f"and run it again. Finished runs are unharmed."
        )
    return OperationFailed(f"Can't write {path}: {error.strerror or error}; check the folder and its permissions.")
