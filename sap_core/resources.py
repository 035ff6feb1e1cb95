"""What ran out, whichever library says so: memory, or room on a disk. No torch."""

from __future__ import annotations

import errno
import re

from .byte_size import format_bytes
from .errors import OperationFailed

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_MEMORY = re.compile(
    r"DefaultCPUAllocator: (can't allocate|not enough) memory|std::bad_alloc|bad allocation|out of memory|"
    r"cannot allocate memory|unable to allocate [\d.]+ \S+ for an array|failed to allocate memory",
    re.IGNORECASE,
)
_BYTES = re.compile(
    r"tried to allocate (\d+) bytes|(?:tried to allocate|unable to allocate) ([\d.]+) ([KMGTPE]i?B)", re.IGNORECASE
)
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50, "E": 2**60}
_SYSTEM_ERROR = re.compile(r"os error (\d+)|\[errno (\d+)\]", re.IGNORECASE)
HELPS = "try a smaller model, a shorter length, fewer prompts or samples, a smaller dtype, or close other programs"


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an exception, or one that it was raised from, is a lack of memory.

    Python's and numpy's MemoryError, torch's OutOfMemoryError of GPUs, the RuntimeError of its CPU allocator, the
    std::bad_alloc of any C++ library, and ENOMEM of the system.
    """
    while error is not None:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return True
        if isinstance(error, (RuntimeError, OSError, ValueError)) and _NO_MEMORY.search(str(error)[:2000]):
            return True
        error = error.__cause__
    return False


def memory_problem(error: BaseException) -> OperationFailed:
    """Return the one-line error for a lack of memory: what was needed where that is known, and what helps."""
    found, cause = None, error
    while found is None and cause is not None:
        found, cause = _BYTES.search(str(cause)[:2000]), cause.__cause__
    needed = ""
    if found is not None:
        count = float(found[1] or found[2]) * (1 if found[1] else _UNITS[found[3][0].upper()])
        needed = f": {format_bytes(count)} more were needed{_free()}"
    return OperationFailed(f"Out of memory{needed}; {HELPS}.")


def is_full(error: BaseException) -> bool:
    """Return whether the system refused a write because a disk, a quota or a limit of file size is used up."""
    return system_error(error) in FULL


def system_error(error: BaseException) -> int | None:
    """Return the system's error number in an exception, or in the text of one that hides it (safetensors, Arrow)."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = _SYSTEM_ERROR.search(str(error)[:2000])
    if found is not None:
        return int(found[1] or found[2])
    return errno.ENOSPC if "No space left on device" in str(error)[:2000] else None


def _free() -> str:
    try:
        import psutil

        return f" and {format_bytes(psutil.virtual_memory().available)} are free on this machine"
    except Exception:  # there may be no memory to find out
        return ""
