"""Export a run as one zip file, and import it."""

from __future__ import annotations

import io
import os
import re
import shutil
import struct
import tempfile
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput, OperationFailed, SapError, required
from ..storage import check_space, disk_problem, local_folder, storage_of
from ..storage.output import Output
from ..storage.renames import rename_new
from ..untrusted import check_path, first_line
from .archive_check import MOST_FILES, check_directory, check_members
from .manifest import MANIFEST, META
from .paths import new_run_path, runs_root
from .publish import publish
from .reading import Run, open_run

if TYPE_CHECKING:
    from ..storage.paths import StoragePath

UNPACKED = "The archive, unpacked,"


PIECE = 1 << 20  # bytes that are in memory at a time


def export_archive(run: str | os.PathLike, out: str | os.PathLike, *, root: str | os.PathLike | None = None) -> Path:
    """Write a closed run as ``out``, a zip with one folder named after the run.

    It is written aside, then renamed. A run at an address is downloaded once, beside ``out``, which is a file of this
    machine.

    Raises:
        RunProblem: the run can't be opened or is damaged.
        InvalidInput: ``out`` exists or can't be written.
        OperationFailed: the disk is full.
    """
    with Output(local_folder(out, "An archive"), folder=False) as output:
        opened = open_run(run, root=root)
        try:
            with open(output.part, "wb") as file:
                for chunk in archive_pieces(opened, near=output.target.parent):
                    file.write(chunk)
        except OSError as error:
            raise disk_problem(error, output.target) from error
        return output.publish()


def archive_pieces(run: Run, *, near: str | os.PathLike | None = None) -> Iterator[bytes]:
    """Yield the archive of a closed run piece by piece, each file as it is read; no piece is larger than a few MB.

    Files are stored as they are: the chunks of a trajectory are compressed already. Before the first piece every file
    is hashed.

    Args:
        run: from `open_run`.
        near: folder for the copy of a run at an address; default: the system's for temporary files.

    Raises:
        RunProblem: the run is unfinished or damaged.
        OSError: a file can't be read, or the disk is full.
    """
    with storage_of(run.path).local_copy(run.path, Path(near or tempfile.gettempdir())) as folder:
        opened = open_run(folder)
        opened.verify()
        listed = required(opened.manifest, "a closed run's manifest")["files"]
        names = [*listed, MANIFEST, *([META] if (folder / META).exists() else [])]
        if len(names) > MOST_FILES:
            raise OperationFailed(f"Run {run.id} has {len(names)} files; an archive holds at most {MOST_FILES}.")
        top, written = _safe_name(run.id) or "run", _Pieces()
        with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
            for name in names:
                info = zipfile.ZipInfo.from_file(folder / name, f"{top}/{name}", strict_timestamps=False)
                with open(folder / name, "rb") as source, archive.open(info, "w") as sink:
                    while chunk := source.read(PIECE):
                        sink.write(chunk)
                        yield written.take()
            yield written.take()
        yield written.take()


class _Pieces(io.RawIOBase):
    """A file that can't seek, for `zipfile` to write to; what was written is taken away in between."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


def import_archive(archive: str | os.PathLike, *, root: str | os.PathLike | None = None) -> Run:
    """Unpack an exported run under the root and open it.

    If its id exists, a number is appended; every hash is checked first.

    Raises:
        InvalidInput: not a run archive, or one with unsafe paths, with files that its manifest does not list, or with
            sizes that it does not say or that are out of proportion; nothing is written.
        RunProblem: a file in it differs from its manifest, or a newer version made it; nothing is kept.
        OperationFailed: the disk is full; nothing is kept.
    """
    source = Path(archive).expanduser()
    check_path(source, "Archive")
    if not source.is_file():
        raise InvalidInput(f"Archive {archive} does not exist; expected a zip file made by `sap runs export`.")
    try:
        check_directory(source)
        with zipfile.ZipFile(source) as opened:
            top, members = check_members(source, opened)
            folder = runs_root(root)
            size = sum(info.file_size for info in members.values())
            if storage_of(folder).remote:
                with tempfile.TemporaryDirectory(prefix="sap-upload-") as near:
                    check_space(near, size, UNPACKED)
                    return _upload(_unpack(opened, top, members, Path(near)), folder)
            check_space(folder, size, UNPACKED)
            return _unpack(opened, top, members, folder)
    except (zipfile.BadZipFile, EOFError, zlib.error, struct.error, RuntimeError, ValueError) as error:
        if isinstance(error, SapError):
            raise
        raise InvalidInput(
            f"{archive} is not a readable zip file ({first_line(error, 120)}); expected one made by `sap runs export`."
        ) from None
    except OSError as error:
        raise InvalidInput(f"Archive {archive} can't be read ({error.strerror or error}).") from None


def _unpack(archive: zipfile.ZipFile, top: str, members: dict[str, zipfile.ZipInfo], folder: Path) -> Run:
    top = _safe_name(top)
    with Output(folder / f"import-{uuid.uuid4().hex[:12]}", folder=True) as output:
        try:
            for name, info in members.items():
                target = output.part / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as source, open(target, "xb") as sink:
                    shutil.copyfileobj(source, sink, PIECE)
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
    """Copy a checked run to an address; if its name exists, a number is appended."""
    number, name = 1, run.id
    while True:
        try:
            publish(run.path, folder / name)
            return open_run(folder / name)
        except InvalidInput:
            number += 1
            name = f"{run.id}-{number}"


def _safe_name(name: str) -> str:
    """Return ``name`` if it can be a folder's name on any system, else ''."""
    return name if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,119}", name) else ""
