"""How long work reports itself and how it is stopped.

A verb that can take long accepts ``progress``: a callable that gets a `Progress` after every unit of work (one
denoising step, one block, one batch). To stop the work, the callable raises `sap_core.errors.Cancelled`; the verb
keeps what it has, marks it as cancelled, and lets the exception through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Progress:
    """One report. ``done`` of ``total`` units of ``stage``; ``data`` is JSON-able and made for a live view."""

    stage: str
    done: int
    total: int
    message: str = ""
    data: dict[str, Any] = field(default_factory=dict)


ProgressCallback = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """The callback used when none is given."""
