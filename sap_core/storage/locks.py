"""Who is at work on a file or folder: a lock that the system drops with the process, however that ends."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from ..errors import required
from ..file_locks import try_lock


class Lock:
    """The lock on a file or folder that exists, held by this process until `release`.

    It stays with the file or folder when that is renamed.

    Args:
        path: what to lock.
        patience: seconds to wait for others that only look, see `is_locked`.

    Raises:
        BlockingIOError: another process holds it.
        OSError: it is gone, or the file system has no locks.
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

    def release(self) -> None:
        """Let go; may be called again."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def is_locked(path: Path) -> bool:
    """Return whether a living process holds the `Lock` on a file or folder; False where there is none."""
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
