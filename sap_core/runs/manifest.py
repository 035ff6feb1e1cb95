"""The manifest: what a closed run holds, and the check that all of it is still there."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from functools import cache
from pathlib import Path
from typing import Any

from .._version import __version__
from ..errors import RunProblem
from .files import read_json

SCHEMA = 1
MANIFEST = "manifest.json"
META = "meta.json"
WRITER = "writer.json"
OUTSIDE = {MANIFEST, META, WRITER}  # files that the list does not cover

AGAIN = "run it again from its spec.json."
PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "xarray", "zarr")


def list_files(folder: Path) -> dict[str, list]:
    """Relative path -> [bytes, SHA-256] of every artefact below ``folder``, sorted by path."""
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in OUTSIDE:
            files[name] = [path.stat().st_size, sha256(path)]
    return files


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a run folder; None when the run is unfinished.

    Raises:
        RunProblem: it is unreadable, or made by a newer version.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    manifest = read_json(path)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("schema"), int):
        raise RunProblem(f"Run {folder} is damaged: its {MANIFEST} can't be read; {AGAIN}")
    if manifest["schema"] > SCHEMA:
        raise RunProblem(
            f"Run {folder} was made by a newer version (format {manifest['schema']}; this one reads up to {SCHEMA}); "
            f"update sap-studio to open it."
        )
    if not isinstance(manifest.get("files"), dict) or "state" not in manifest or "kind" not in manifest:
        raise RunProblem(f"Run {folder} is damaged: its {MANIFEST} is incomplete; {AGAIN}")
    return manifest


def check_files(folder: Path, files: dict[str, list], *, full: bool = False) -> None:
    """Compare what is there with the list: every size; the hash of the JSON documents, or of all files if ``full``.

    Raises:
        RunProblem: a file is missing, shorter, longer or different.
    """
    for name, (size, digest) in files.items():
        path = folder / name
        try:
            found = path.stat().st_size
        except OSError:
            raise RunProblem(f"Run {folder} is truncated: {name} is missing; {AGAIN}") from None
        if found != size:
            raise RunProblem(f"Run {folder} is truncated: {name} has {found} bytes, expected {size}; {AGAIN}")
        if (full or "/" not in name) and sha256(path) != digest:
            raise RunProblem(f"Run {folder} is damaged: {name} has changed since; {AGAIN}")


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def versions() -> dict[str, str]:
    """Versions of what a result depends on, read without importing any of it."""
    found = {"sap-studio": __version__, "python": platform.python_version(), "system": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
