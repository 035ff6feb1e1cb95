"""Freed memory goes back to the system at once, so that what is freed between two blocks does not count in the peak."""

from __future__ import annotations

import contextlib
import ctypes

_M_MMAP_THRESHOLD = -3  # malloc.h
_ALWAYS_MAPPED = 1 << 20  # bytes


def release_freed_memory() -> bool:
    """Tell glibc to map blocks of 1 MiB and more one by one; whether there is such an allocator to be told.

    By itself it raises that limit to 32 MiB as soon as a block of that size was freed, and keeps in its heap what is
    smaller, between other blocks: the batches of one walk left several times what was in use
    (`benchmarks/streamed.py`). It holds for the process; other allocators are left as they are.
    """
    with contextlib.suppress(OSError, AttributeError):
        return bool(ctypes.CDLL("libc.so.6").mallopt(_M_MMAP_THRESHOLD, _ALWAYS_MAPPED))
    return False
