"""Locks on files that the system drops with the process that holds them, however it ends.

They are POSIX locks (``flock``), which Windows does not have; there, the program says so when it starts.
"""

from __future__ import annotations

import sys
from typing import IO

from .errors import SapError

if sys.platform != "win32":
    import fcntl


def check_platform(platform: str = sys.platform) -> None:
    """Refuse systems without these locks.

    Raises:
        SapError: on Windows.
    """
    if platform == "win32":
        raise SapError(
            "Windows is not supported: jobs and runs are protected by POSIX file locks. Use Linux, macOS, or WSL "
            "(https://learn.microsoft.com/windows/wsl)."
        )


def try_lock(file: IO[bytes] | int, *, shared: bool = False) -> bool:
    """Lock an open file without waiting, and return whether that succeeded.

    Args:
        file: an open file, or the descriptor of a file or folder; locked until it is closed.
        shared: any number of shared locks can be held, but none beside an exclusive one.
    """
    check_platform()
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
