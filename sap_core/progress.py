"""Progress reports of long work, and how it is stopped.

A function that can take long accepts ``progress``: a callable that gets a `Progress` after every unit of work (one
denoising step, one block, one batch). To stop the work, the callable raises `sap_core.errors.Cancelled`; the function
keeps what it has, marks it as cancelled, and re-raises the exception.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Progress:
    """One progress report.

    ``done`` of ``total`` units of ``stage`` are finished; ``data`` is JSON-able and made for a live view.
    """

    stage: str
    done: int
    total: int
    message: str = ""
    data: dict[str, Any] = field(default_factory=dict)


ProgressCallback = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """Do nothing: the default progress callback."""
