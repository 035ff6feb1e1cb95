"""The manifest: what a closed run holds, and the check that all of it is still there."""

from __future__ import annotations

import importlib.metadata
import platform
from functools import cache
from typing import TYPE_CHECKING, Any

from .._version import __version__
from ..errors import RunProblem
from ..storage import remote_errors, storage_of
from .files import read_json

if TYPE_CHECKING:
    from ..storage.paths import StoragePath

SCHEMA = 1
SPEC = "spec.json"
MANIFEST = "manifest.json"
META = "meta.json"
WRITER = "writer.json"
OUTSIDE = {MANIFEST, META, WRITER}  # files that the list does not cover

AGAIN = "run it again from its spec.json."
PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "xarray", "zarr")


def list_files(folder: StoragePath) -> dict[str, list]:
    """Relative path -> [bytes, SHA-256] of every artefact below ``folder``, sorted by path.

    At an address each object is read back once, so that the list says what is really there.
    """
    storage = storage_of(folder)
    sizes = {name: size for name, size in storage.sizes(folder).items() if name not in OUTSIDE}
    digests = dict(storage.digests(folder, sizes))
    return {name: [size, digests[name]] for name, size in sizes.items()}


def read_manifest(folder: StoragePath) -> dict[str, Any] | None:
    """The manifest of a run folder; None when the run is unfinished.

    Raises:
        RunProblem: it is unreadable, or made by a newer version.
    """
    path = folder / MANIFEST
    with remote_errors(folder):
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


def check_files(folder: StoragePath, files: dict[str, list], *, full: bool = False) -> None:
    """Compare what is there with the list: every size; the hash of the JSON documents, or of all files if ``full``.

    Raises:
        RunProblem: a file is missing, shorter, longer or different.
    """
    storage = storage_of(folder)
    sizes = storage.sizes(folder)
    for name, (size, _) in files.items():
        if name not in sizes:
            raise RunProblem(f"Run {folder} is truncated: {name} is missing; {AGAIN}")
        if sizes[name] != size:
            raise RunProblem(f"Run {folder} is truncated: {name} has {sizes[name]} bytes, expected {size}; {AGAIN}")
    hashed = {name: size for name, (size, _) in files.items() if full or "/" not in name}
    for name, digest in storage.digests(folder, hashed):
        if digest != files[name][1]:
            raise RunProblem(f"Run {folder} is damaged: {name} has changed since; {AGAIN}")


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
