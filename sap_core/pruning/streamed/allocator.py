"""Return freed memory to the system at once, so that blocks freed earlier do not count in the peak."""

from __future__ import annotations

import contextlib
import ctypes

_M_MMAP_THRESHOLD = -3  # malloc.h
_ALWAYS_MAPPED = 1 << 20  # bytes


def release_freed_memory() -> bool:
    """Tell glibc to map blocks of 1 MiB and more one by one; return False if the allocator is another one.

    By default it raises that limit to 32 MiB as soon as a block of that size was freed, and keeps smaller ones in its
    heap between other blocks: the batches of one pass left several times what was in use (`benchmarks/streamed.py`).
    The setting holds for the process; other allocators are unchanged.
    """
    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL("libc.so.6").mallopt(_M_MMAP_THRESHOLD, _ALWAYS_MAPPED))
    return False
