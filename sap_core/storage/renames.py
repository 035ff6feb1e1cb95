"""Renames that never replace, and exchanges that always leave a version in place.

Linux and macOS have both as one system call (renameat2, renamex_np), which most local file systems support. Elsewhere
they are composed of POSIX calls.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

_UNKNOWN = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
_LINUX = {"new": 1, "swap": 2}  # RENAME_NOREPLACE, RENAME_EXCHANGE (linux/fs.h)
_MACOS = {"new": 4, "swap": 2}  # RENAME_EXCL, RENAME_SWAP (sys/stdio.h)
_HERE = -100  # AT_FDCWD: paths are absolute anyway


def rename_new(source: Path, target: Path) -> None:
    """Rename a file or folder to a path where nothing is.

    Raises:
        FileExistsError: something is at ``target``; both are unchanged.
        OSError: the system refuses.
    """
    if _system_rename(source, target, "new"):
        return
    if source.is_dir():
        target.mkdir()
        try:
            os.rename(source, target)  # replaces a folder only where it is empty
        except OSError as error:
            target.rmdir()
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
            raise
        return
    try:
        os.link(source, target)
    except OSError as error:
        if isinstance(error, FileExistsError) or error.errno not in {*_UNKNOWN, errno.EPERM, errno.EMLINK}:
            raise
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))  # a file system without links
        os.replace(source, target)
        return
    source.unlink()


def swap(first: Path, second: Path) -> bool:
    """Exchange two files or folders in one step; do nothing and return False if the system can't.

    Raises:
        OSError: the system refuses, for example because one of them was removed.
    """
    return _system_rename(first, second, "swap")


def _system_rename(source: Path, target: Path, how: str) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    before, after = os.fsencode(source), os.fsencode(target)
    if sys.platform.startswith("linux") and hasattr(libc, "renameat2"):
        failed = libc.renameat2(_HERE, before, _HERE, after, _LINUX[how])
    elif sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        failed = libc.renamex_np(before, after, _MACOS[how])
    else:
        return False
    if not failed:
        return True
    number = ctypes.get_errno()
    if number in _UNKNOWN:
        return False
    raise OSError(number, os.strerror(number), str(source), None, str(target))
