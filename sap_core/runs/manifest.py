"""The manifest: the files of a closed run, and the check that all of them are unchanged."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from .._version import __version__
from ..errors import InvalidInput, RunProblem
from ..storage import storage_of
from ..untrusted import parse_json
from .documents import ManifestDocument, parse_document, read_content

if TYPE_CHECKING:
    from ..storage.paths import StoragePath

SCHEMA = 1
SPEC = "spec.json"
RESULT = "result.json"
MANIFEST = "manifest.json"
META = "meta.json"
WRITER = "writer.json"
CHECKPOINT = "resume.json"  # where a capture goes on that was not finished
OUTSIDE = {MANIFEST, META, WRITER}  # files that the list does not cover

CHANGED = "has changed since"
AGAIN = "run it again from its spec.json."
PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "xarray", "zarr")


def list_files(folder: StoragePath) -> dict[str, list]:
    """Return relative path -> [bytes, SHA-256] of every artefact below ``folder``, sorted by path.

    At an address each object is read back once, so that the list has what is really there.
    """
    storage = storage_of(folder)
    sizes = {name: size for name, size in storage.sizes(folder).items() if name not in OUTSIDE}
    digests = dict(storage.digests(folder, sizes))
    return {name: [size, digests[name]] for name, size in sizes.items()}


def read_manifest(folder: StoragePath) -> dict[str, Any] | None:
    """Return the manifest of a run folder; None if the run is unfinished.

    Raises:
        RunProblem: it is unreadable, or made by a newer version.
    """
    content = read_content(folder / MANIFEST)
    return None if content is None else parse_manifest(content, f"Run {folder}")


def parse_manifest(content: bytes, owner: str) -> dict[str, Any]:
    """Return the manifest in a file's content; ``owner`` and errors as `parse_document`, and `read_manifest`."""
    try:
        manifest = parse_document(content, ManifestDocument, MANIFEST, owner)
    except RunProblem:
        newer = _schema_of(content)
        if newer is None or not SCHEMA < newer < 1 << 31:
            raise
        manifest = {"schema": newer}
    if manifest["schema"] > SCHEMA:
        raise RunProblem(
            f"{owner} was made by a newer version (format {manifest['schema']}; this one reads up to {SCHEMA}); "
            f"update sap-studio to open it."
        )
    return manifest


def _schema_of(content: bytes) -> int | None:
    try:
        found = parse_json(content, MANIFEST)
    except InvalidInput:
        return None
    schema = found.get("schema") if isinstance(found, dict) else None
    return schema if isinstance(schema, int) else None


def check_files(folder: StoragePath, files: dict[str, list], *, full: bool = False) -> None:
    """Compare a folder with the list: every size; the hash of the JSON documents, or of all files if ``full``.

    Raises:
        RunProblem: a file is missing, shorter, longer or different.
    """
    for name, what in damages(folder, files, full=full):
        kind = "damaged" if what == CHANGED else "truncated"
        raise RunProblem(f"Run {folder} is {kind}: {name} {what}; {AGAIN}")


def check_file(folder: StoragePath, name: str, entry: list) -> None:
    """Hash one file.

    Raises:
        RunProblem: it is missing, or differs from the list.
    """
    storage = storage_of(folder)
    if storage.stamp(folder / name)[1] != entry[0]:
        raise RunProblem(f"Run {folder} is truncated: {name} is missing or has another size; {AGAIN}")
    if dict(storage.digests(folder, {name: entry[0]}))[name] != entry[1]:
        raise RunProblem(f"Run {folder} is damaged: {name} {CHANGED}; {AGAIN}")


def damages(folder: StoragePath, files: dict[str, list], *, full: bool = False) -> Iterator[tuple[str, str]]:
    """Yield (name, what is wrong with it) of every file that differs from the list, see `check_files`."""
    storage = storage_of(folder)
    sizes = storage.sizes(folder)
    for name, (size, _) in files.items():
        if name not in sizes:
            yield name, "is missing"
        elif sizes[name] != size:
            yield name, f"has {sizes[name]} bytes, expected {size}"
    hashed = {name: size for name, (size, _) in files.items() if (full or "/" not in name) and sizes.get(name) == size}
    for name, digest in storage.digests(folder, hashed):
        if digest != files[name][1]:
            yield name, CHANGED


@cache
def versions() -> dict[str, str]:
    """Return the versions of the packages that a result depends on, without importing them."""
    found = {"sap-studio": __version__, "python": platform.python_version(), "system": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
