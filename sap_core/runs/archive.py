"""A run as one zip file, to send or to keep, and back."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
import uuid
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ..errors import InvalidInput, OperationFailed, SapError
from ..storage import disk_problem, local_folder, storage_of
from ..storage.output import Output
from ..storage.renames import rename_new
from .manifest import MANIFEST
from .paths import new_run_path, runs_root
from .publish import publish
from .reading import Run, open_run

if TYPE_CHECKING:
    from ..storage.paths import StoragePath


def export_archive(run: str | os.PathLike, out: str | os.PathLike, *, root: str | os.PathLike | None = None) -> Path:
    """Write a closed run as ``out`` (a zip with one folder in it, named after the run). Written aside, then renamed.

    A run at an address is downloaded once, beside ``out``, which is a file of this machine.

    Raises:
        RunProblem: the run can't be opened or is damaged.
        InvalidInput: ``out`` exists or can't be written.
        OperationFailed: the disk is full.
    """
    with Output(local_folder(out, "An archive"), folder=False) as output:
        opened = open_run(run, root=root)
        top = _safe_name(opened.id) or "run"
        try:
            with (
                storage_of(opened.path).local_copy(opened.path, output.target.parent) as folder,
                zipfile.ZipFile(output.part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
            ):
                open_run(folder).verify()
                for name in storage_of(folder).sizes(folder):
                    archive.write(folder / name, f"{top}/{name}")
        except OSError as error:
            raise disk_problem(error, output.target) from error
        return output.publish()


def import_archive(archive: str | os.PathLike, *, root: str | os.PathLike | None = None) -> Run:
    """Unpack an exported run under the root and open it. A taken id gets a number; every hash is checked first.

    Raises:
        InvalidInput: not a run archive, or one with unsafe paths; nothing is written.
        RunProblem: a file in it differs from its manifest, or a newer version made it; nothing is kept.
        OperationFailed: the disk is full; nothing is kept.
    """
    source = Path(archive).expanduser()
    if not source.is_file():
        raise InvalidInput(f"Archive {archive} does not exist; expected a zip file made by `sap runs export`.")
    try:
        with zipfile.ZipFile(source) as opened:
            members = _check_members(source, opened)
            folder = runs_root(root)
            size = sum(info.file_size for info in members.values())
            if storage_of(folder).remote:
                with tempfile.TemporaryDirectory(prefix="sap-upload-") as near:
                    _check_space(Path(near), size)
                    return _upload(_unpack(opened, members, Path(near)), folder)
            _check_space(folder, size)
            return _unpack(opened, members, folder)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, SapError):
            raise
        raise InvalidInput(
            f"{archive} is not a readable zip file ({error}); expected one made by `sap runs export`."
        ) from None


def _check_members(source: Path, archive: zipfile.ZipFile) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """Path in the archive -> entry, for files; refuses everything that could land outside one new folder."""
    members: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        if info.is_dir():
            continue
        name, path = info.filename, PurePosixPath(info.filename)
        mode = info.external_attr >> 16
        if (
            path.is_absolute()
            or ".." in path.parts
            or "\\" in name
            or ":" in name
            or "\0" in name
            or (stat.S_IFMT(mode) and not stat.S_ISREG(mode))
        ):
            raise InvalidInput(f"{source} is refused: it holds the unsafe entry {name!r}; nothing was unpacked.")
        if path in members:
            raise InvalidInput(f"{source} is refused: it holds {name!r} twice; nothing was unpacked.")
        members[path] = info
    tops = {path.parts[0] for path in members}
    if len(tops) != 1 or PurePosixPath(*tops, MANIFEST) not in members:
        raise InvalidInput(f"{source} is not a run archive: expected one folder with a {MANIFEST} in it.")
    return members


def _check_space(folder: Path, needed: int) -> None:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise OperationFailed(
            f"The archive unpacks to {needed / 1e6:.0f} MB, {existing} has {free / 1e6:.0f} MB free; free some space."
        )


def _unpack(archive: zipfile.ZipFile, members: dict[PurePosixPath, zipfile.ZipInfo], folder: Path) -> Run:
    top = _safe_name(next(iter(members)).parts[0])
    with Output(folder / f"import-{uuid.uuid4().hex[:12]}", folder=True) as output:
        try:
            for path, info in members.items():
                target = output.part.joinpath(*path.parts[1:])
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as source, open(target, "xb") as sink:
                    shutil.copyfileobj(source, sink)
            open_run(output.part).verify()
            target = folder / (top or new_run_path("import", folder).name)
            number = 1
            while True:
                try:
                    rename_new(output.part, target)
                    return open_run(target)
                except FileExistsError:
                    number += 1
                    target = folder / f"{top or target.name}-{number}"
        except OSError as error:
            raise disk_problem(error, folder) from error


def _upload(run: Run, folder: StoragePath) -> Run:
    """Put a checked run under an address; a taken name gets a number."""
    number, name = 1, run.id
    while True:
        try:
            publish(run.path, folder / name)
            return open_run(folder / name)
        except InvalidInput:
            number += 1
            name = f"{run.id}-{number}"


def _safe_name(name: str) -> str:
    """``name`` if it can be a folder's name anywhere, else ''."""
    return name if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,119}", name) else ""
