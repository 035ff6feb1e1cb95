"""Storage at addresses: object stores and every other file system of fsspec."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput, OperationFailed, SapError
from .base import Storage
from .locks import Lock
from .paths import is_remote

if TYPE_CHECKING:
    from upath import UPath

READ_BYTES = 64 * 2**20  # of objects in memory at a time


class RemoteStorage(Storage):
    """Objects at an address: each appears whole or not at all."""

    remote = True
    requests_at_once = 16

    def read(self, path: UPath, limit: int) -> bytes | None:
        """Read an object; see `Storage.read`."""
        with remote_errors(path):
            try:
                size = int(path.fs.info(path.path)["size"] or 0)
            except FileNotFoundError:
                return None
            if size > limit:
                raise InvalidInput(f"{path} has {size} bytes; at most {limit} are read.")
            return path.fs.cat_file(path.path) if path.fs.isfile(path.path) else None

    def write(self, path: UPath, content: bytes) -> None:
        """Write an object; see `Storage.write`."""
        with remote_errors(path):
            path.write_bytes(content)

    def check_new(self, path: UPath) -> None:
        """Check that nothing is there and that an object can be written; see `Storage.check_new`."""
        with remote_errors(path):
            if path.exists():
                raise InvalidInput(f"Output {path} exists already; choose another, or remove it first.")
            probe = path / ".writable"
            probe.write_bytes(b"")
            probe.unlink()

    def create_folder(self, path: UPath, name: str, content: bytes) -> None:
        """Write the first object of a folder; see `Storage.create_folder`.

        S3 refuses the second of two writers; a store without this check writes the file in any case.
        """
        target = path / name
        with remote_errors(path):
            try:
                path.fs.pipe_file(target.path, content, mode="create")
            except FileExistsError:
                raise InvalidInput(f"Output {path} exists already; choose another, or remove it first.") from None
            except NotImplementedError:
                target.write_bytes(content)

    def make_folder(self, path: UPath) -> None:
        """Do nothing: there are no folders; see `Storage.make_folder`."""
        return

    def remove(self, folder: UPath, *, first: Collection[str] = (), last: Collection[str] = ()) -> None:
        """Remove objects in the given order; see `Storage.remove`."""
        names = set(self.sizes(folder))
        before, after = names & set(first), names & set(last)
        with remote_errors(folder):
            for part in (before, names - before - after, after):
                if part:
                    folder.fs.rm([f"{folder.path}/{name}" for name in sorted(part)])

    def stamp(self, path: UPath) -> tuple[int | str, int]:
        """Return ETag or time, and size; see `Storage.stamp`."""
        with remote_errors(path):
            try:
                info = path.fs.info(path.path)
            except FileNotFoundError:
                return (0, 0)
        when = next((info[key] for key in ("ETag", "etag", "LastModified", "mtime", "created") if key in info), "")
        return str(when), int(info["size"] or 0)

    def modified(self, path: UPath) -> float:
        """Return the time of the last write; see `Storage.modified`."""
        with remote_errors(path):
            return path.stat().st_mtime if path.exists() else 0.0

    def clock(self, path: UPath) -> float:
        """Return the storage's own time; see `Storage.clock`."""
        probe = path / f".clock-{uuid.uuid4().hex[:8]}"
        try:
            with remote_errors(path):
                probe.write_bytes(b"")
                now = probe.stat().st_mtime
                probe.unlink()
                return now
        except OperationFailed:  # it may only be read
            return time.time()

    def sizes(self, folder: UPath) -> dict[str, int]:
        """Return the sizes of objects; see `Storage.sizes`."""
        with remote_errors(folder):
            listed = folder.fs.find(folder.path, detail=True)
        return {name[len(folder.path) :].strip("/"): int(info["size"]) for name, info in sorted(listed.items())}

    def digests(self, folder: UPath, sizes: Mapping[str, int]) -> Iterator[tuple[str, str]]:
        """Yield hashes of many objects at once, with at most about `READ_BYTES` in memory; see `Storage.digests`."""
        waiting = list(sizes)
        while waiting:
            batch, total = [], 0
            while waiting and total < READ_BYTES:
                batch.append(waiting.pop(0))
                total += sizes[batch[-1]]
            with remote_errors(folder):
                result = folder.fs.cat([f"{folder.path}/{name}" for name in batch])
            for name in batch:
                yield name, hashlib.sha256(result[f"{folder.path}/{name}"]).hexdigest()

    @contextmanager
    def local_copy(self, folder: UPath, near: Path) -> Iterator[Path]:
        """Download a folder; see `Storage.local_copy`."""
        with tempfile.TemporaryDirectory(prefix=".sap-download-", dir=near) as temporary:
            lock = Lock(Path(temporary))  # while it is held, this is no leftover
            copy = Path(temporary) / "run"
            with remote_errors(folder):
                folder.fs.get(f"{folder.path}/", f"{copy}/", recursive=True)
            try:
                yield copy
            finally:
                lock.release()

    def zarr(self, path: UPath) -> Any:
        """Return a store of the address; see `Storage.zarr`."""
        from zarr.storage import FsspecStore

        return FsspecStore.from_url(str(path), storage_options=dict(path.storage_options))

    def problem(self, error: BaseException, path: UPath) -> SapError | None:
        """Return the error of the remote file system; see `Storage.problem`."""
        return remote_problem(error, path)


@contextmanager
def remote_errors(path: str | os.PathLike | UPath) -> Iterator[None]:
    """Turn every exception of a remote file system inside into a one-line error; change nothing for a folder.

    Raises:
        OperationFailed: ``path`` is an address that can't be reached, or access is denied.
    """
    try:
        yield
    except SapError:
        raise
    except Exception as error:
        if not is_remote(path):
            raise
        raise remote_problem(error, path) from None


def remote_problem(error: BaseException, path: str | os.PathLike | UPath) -> SapError:
    """Return the one-line error for an address that can't be read or written, for any exception of its file system."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, PermissionError):
        return OperationFailed(f"{path}: access denied ({text}); check the credentials and the bucket's policy.")
    if isinstance(error, FileNotFoundError):
        return OperationFailed(f"{path}: {text}; check that the bucket exists.")
    return OperationFailed(f"{path} can't be reached: {text}; check the address, the endpoint and the network.")
