"""Storage in folders of this machine."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import InvalidInput, OperationFailed, SapError
from ..resources import is_full
from ..untrusted import read_bytes
from .base import Storage


class LocalStorage(Storage):
    """Files on a disk: written whole by a rename, owned by whoever creates the folder."""

    remote = False
    requests_at_once = 1

    def read(self, path: Path, limit: int) -> bytes | None:
        """Read a file; see `Storage.read`."""
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InvalidInput(f"{path} can't be read ({error.strerror}).") from None
        return read_bytes(path, path.name, limit=limit)

    def write(self, path: Path, content: bytes) -> None:
        """Write a file beside the path and rename it; see `Storage.write`."""
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise disk_problem(error, path) from error

    def check_new(self, path: Path) -> None:
        """Check a new folder; see `Storage.check_new`."""
        if os.path.lexists(path):
            raise InvalidInput(f"Output folder {path} exists already; choose another, or remove it first.")
        _check_writable(path)

    def create_folder(self, path: Path, name: str, content: bytes) -> None:
        """Create a folder under a hidden name and rename it; see `Storage.create_folder`."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
        except FileExistsError:
            raise InvalidInput(f"Output folder {path} exists already; choose another, or remove it first.") from None
        except OSError as error:
            raise disk_problem(error, path) from error
        try:
            self.write(path / name, content)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise

    def make_folder(self, path: Path) -> None:
        """Create a folder; see `Storage.make_folder`."""
        path.mkdir(parents=True, exist_ok=True)

    def remove(self, folder: Path, *, first: Collection[str] = (), last: Collection[str] = ()) -> None:
        """Rename a folder, then delete it; see `Storage.remove`."""
        doomed = folder.with_name(f".deleted-{folder.name}-{uuid.uuid4().hex[:6]}")
        try:
            folder.rename(doomed)  # gone for every reader at once; the files follow
            shutil.rmtree(doomed)
        except FileNotFoundError:
            raise InvalidInput(f"{folder} does not exist any more.") from None
        except OSError as error:
            raise OperationFailed(
                f"Can't delete {folder}: {error.strerror or error}; check the folder and its permissions."
            ) from error

    def stamp(self, path: Path) -> tuple[int | str, int]:
        """Return modification time and size; see `Storage.stamp`."""
        try:
            stat = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return (0, 0)
        except OSError as error:  # it is there, and can't be read
            return f"error {error.errno}", 0
        return stat.st_mtime_ns, stat.st_size

    def modified(self, path: Path) -> float:
        """Return the modification time; see `Storage.modified`."""
        try:
            return path.stat().st_mtime
        except OSError:
            return 0.0

    def clock(self, path: Path) -> float:
        """Return this machine's time; see `Storage.clock`."""
        try:
            with tempfile.TemporaryFile(dir=path) as probe:
                return os.fstat(probe.fileno()).st_mtime
        except OSError:  # it may only be read
            return time.time()

    def sizes(self, folder: Path) -> dict[str, int]:
        """Return the sizes of files; see `Storage.sizes`."""
        found = {}
        for parent, _, names in os.walk(folder):
            for name in names:
                path = os.path.join(parent, name)
                if os.path.isfile(path):
                    found[os.path.relpath(path, folder).replace(os.sep, "/")] = os.path.getsize(path)
        return dict(sorted(found.items()))

    def digests(self, folder: Path, sizes: Mapping[str, int]) -> Iterator[tuple[str, str]]:
        """Yield hashes one by one; see `Storage.digests`."""
        for name in sizes:
            with open(folder / name, "rb") as file:
                yield name, hashlib.file_digest(file, "sha256").hexdigest()

    @contextmanager
    def local_copy(self, folder: Path, near: Path) -> Iterator[Path]:
        """Yield the folder itself; see `Storage.local_copy`."""
        yield folder

    def zarr(self, path: Path) -> Any:
        """Return the path; see `Storage.zarr`."""
        return str(path)

    def problem(self, error: BaseException, path: Path) -> SapError | None:
        """Return the error of a full or refusing disk; see `Storage.problem`."""
        return disk_problem(error, path) if isinstance(error, OSError) else None


def _check_writable(path: Path) -> None:
    """Raise InvalidInput unless ``path`` can be created; leave nothing behind."""
    parent = path.parent
    while not os.path.lexists(parent):
        parent = parent.parent
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".sap-", dir=parent))
    except OSError as error:
        raise InvalidInput(
            f"Output folder {path} can't be written ({error.strerror} at {parent}); choose another place."
        ) from None


def disk_problem(error: BaseException, path: str | os.PathLike) -> OperationFailed:
    """Return the one-line error for a write that the system refused."""
    if is_full(error):
        return OperationFailed(
            f"No space left on the disk while writing {path}; free some space (for example `sap runs delete`) "
            f"and run it again. Finished runs are unharmed."
        )
    why = getattr(error, "strerror", None) or error
    return OperationFailed(f"Can't write {path}: {why}; check the folder and its permissions.")
