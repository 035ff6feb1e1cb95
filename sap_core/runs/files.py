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
from ..storage import as_place, is_remote, reaching

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_json(path: str | os.PathLike, document: Any) -> None:
    """Write ``document`` to ``path`` in one step: a reader sees the old file or the new one, never a half.

    Numpy scalars and arrays, paths, tuples and sets become plain JSON; NaN and infinities become null.

    Raises:
        OperationFailed: the disk is full or refuses; no half-written file stays behind.
    """
    document = plain(document)
    if is_remote(path):  # an object appears whole or not at all
        with reaching(path):
            as_place(path).write_text(json_text(document), encoding="utf-8")
        return
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(document, file, ensure_ascii=False, indent=1, allow_nan=False)
            file.write("\n")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise disk_problem(error, path) from error


def json_text(document: Any) -> str:
    """A document as it stands in a file."""
    return json.dumps(plain(document), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def read_json(path: str | os.PathLike) -> Any:
    """The document in ``path``, or None when there is none or it is not (yet) JSON.

    Raises:
        OperationFailed: an address that can't be reached, or access is denied.
    """
    if is_remote(path):
        path = as_place(path)
        try:
            with reaching(path):
                return json.loads(path.fs.cat_file(path.path)) if path.exists() else None
        except ValueError:
            return None
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def file_stamp(path: str | os.PathLike) -> tuple[int | str, int]:
    """Changes whenever a file does: its time (at an address its ETag, where the store has one) and its bytes.

    (0, 0) where there is none. Raises OperationFailed for an address that can't be reached.
    """
    if not is_remote(path):
        try:
            stat = os.stat(path)
        except OSError:
            return (0, 0)
        return stat.st_mtime_ns, stat.st_size
    path = as_place(path)
    with reaching(path):
        try:
            info = path.fs.info(path.path)
        except FileNotFoundError:
            return (0, 0)
    when = next((info[key] for key in ("ETag", "etag", "LastModified", "mtime", "created") if key in info), "")
    return str(when), int(info["size"] or 0)


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
    if hasattr(value, "joinpath"):  # an address
        return str(value)
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
