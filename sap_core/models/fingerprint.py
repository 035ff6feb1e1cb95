"""Whether a model's files are those that a piece of work was begun with."""

from __future__ import annotations

import hashlib
from pathlib import Path

_ENDS = 1 << 20  # bytes of a file's beginning and end that are hashed


def model_files(path: str | None) -> dict[str, str]:
    """Name -> fingerprint of a model's weight files and config, cheap for any size: length, first and last MiB.

    Empty for a model that is not on this machine.
    """
    if path is None:
        return {}
    found = {}
    for file in sorted(Path(path).iterdir()):
        if file.suffix == ".safetensors" or file.name == "config.json":
            size = file.stat().st_size
            seen = hashlib.sha256(str(size).encode())
            with open(file, "rb") as stream:
                seen.update(stream.read(_ENDS))
                stream.seek(max(0, size - _ENDS))
                seen.update(stream.read(_ENDS))
            found[file.name] = seen.hexdigest()[:16]
    return found
