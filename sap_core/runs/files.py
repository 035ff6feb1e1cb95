"""Small documents on disk: written whole or not at all, and read with errors that say what to do."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

from ..errors import InvalidInput
from ..storage import storage_of, storage_path
from ..untrusted import parse_json

LIMIT = 256 << 20  # bytes of a document


def write_json(path: str | os.PathLike, document: Any) -> None:
    """Write ``document`` to ``path`` in one step: a reader sees the old file or the new one, never a part.

    Numpy scalars and arrays, paths, tuples and sets become plain JSON; NaN and infinities become null.

    Raises:
        OperationFailed: the disk is full or refuses; no half-written file stays behind.
    """
    path = storage_path(path)
    storage_of(path).write(path, json_text(document).encode())


def json_text(document: Any) -> str:
    """Return the JSON text of a document, as it is written to a file."""
    return json.dumps(plain(document), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def read_json(path: str | os.PathLike) -> Any:
    """Return the document in ``path``, or None if there is none or it is not (yet) JSON.

    Raises:
        OperationFailed: an address that can't be reached, or access is denied.
    """
    path = storage_path(path)
    try:
        content = storage_of(path).read(path, LIMIT)
        return None if content is None else parse_json(content, path.name)
    except (InvalidInput, OSError):
        return None


def file_stamp(path: str | os.PathLike) -> tuple[int | str, int]:
    """Return a value that changes whenever a file does: its time (at an address its ETag, if any) and its bytes.

    (0, 0) where there is none. Raises OperationFailed for an address that can't be reached.
    """
    path = storage_path(path)
    return storage_of(path).stamp(path)


def plain(value: Any) -> Any:
    """Return ``value`` converted to dict, list, str, int, finite float, bool and None only."""
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
    if hasattr(value, "joinpath"):  # an address
        return str(value)
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json"))
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    raise TypeError(f"{type(value).__name__} can't be written as JSON")
