"""Locks on files and folders that the system releases with the process, however that ends."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import required
from ..file_locks import try_lock


class Lock:
    """The lock on a file or folder that exists, held by this process until `release`.

    It stays with the file or folder when that is renamed.

    Args:
        path: What to lock.
        patience: Seconds to wait for others that only test the lock, see `is_locked`.

    Raises:
        BlockingIOError: another process holds it.
        OSError: it was removed, or the file system has no locks.
    """

    def __init__(self, path: Path, *, patience: float = 1.0) -> None:
        self._handle: int | None = None
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        end = time.monotonic() + patience
        try:
            while not self._try():
                if time.monotonic() > end:
                    raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK), str(path))
                time.sleep(0.02)
            if not _same(self._handle, path):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        except BaseException:
            self.release()
            raise

    def _try(self) -> bool:
        return try_lock(required(self._handle, "the lock's handle"))

    def __del__(self) -> None:
        self.release()

    def holds(self, path: Path) -> bool:
        """Return whether what is locked is what lies at ``path`` now; True where that is an address, or unknown."""
        if self._handle is None or not isinstance(path, Path):
            return True
        return _same(self._handle, path)

    def release(self) -> None:
        """Release the lock; may be called again."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


@contextlib.contextmanager
def one_at_a_time(target: Path, patience: float = 10.0) -> Iterator[None]:
    """Keep other processes of this user from doing the same with ``target``, by a lock in the user's cache.

    Where there is no cache, or another holds it for longer than ``patience`` seconds, it goes on without.
    """
    lock = None
    with contextlib.suppress(OSError):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sap-studio" / "publishing"
        cache.mkdir(parents=True, exist_ok=True)
        file = cache / hashlib.sha256(os.fsencode(target)).hexdigest()[:2]  # few files serve all targets
        file.touch()
        lock = Lock(file, patience=patience)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def is_locked(path: Path) -> bool:
    """Return whether a running process holds the `Lock` on a file or folder; False if it does not exist."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not try_lock(handle, shared=True)
    except OSError:
        return False
    finally:
        os.close(handle)


def _same(handle: int, path: Path) -> bool:
    try:
        there = os.stat(path)
    except OSError:
        return False
    mine = os.fstat(handle)
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
