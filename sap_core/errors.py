"""Every error a user can meet, as one tree.

    SapError
    ├── InvalidInput       what came can't be used; nothing was done, nothing was written (command line: exit 2)
    │   ├── UnknownOption  a name outside a known list; the message lists the list
    │   ├── ModelProblem   a model folder or Hub id that can't be loaded as asked
    │   └── RunProblem     a run folder that can't be opened as asked
    ├── OperationFailed    the work began and could not be ended (exit 1)
    └── Cancelled          the user asked to stop; partial results are kept (exit 1)

Each message is one line and says what came, what was expected, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


class SapError(Exception):
    """Root of every error this package raises on purpose."""


class InvalidInput(SapError, ValueError):
    """The input can't be used. Raised before any long work, with nothing written."""


class UnknownOption(InvalidInput):
    """A name that is not in a known list."""

    def __init__(self, what: str, value: object, known: Iterable[str], hint: str = "") -> None:
        names = list(known)
        close = difflib.get_close_matches(str(value), names, n=1)
        guess = f" Did you mean '{close[0]}'?" if close else ""
        tail = f" {hint}" if hint else ""
        super().__init__(f"Unknown {what} '{value}'; known: {', '.join(names)}.{guess}{tail}")


class ModelProblem(InvalidInput):
    """A model that is missing, incomplete, unsafe to load, or of an unsupported kind."""


class RunProblem(InvalidInput):
    """A run folder that is missing, unfinished, truncated, or made by a newer version."""


class OperationFailed(SapError, RuntimeError):
    """Work that began and could not be completed; the message says why and what was kept."""


class Cancelled(SapError):
    """The user asked to stop; raised by a progress callback. Partial results are kept."""


def required(value: T | None, what: str) -> T:
    """Return ``value`` after checking that it is not None.

    Args:
        value: The value to check.
        what: Its name, for the message.
    """
    if value is None:
        raise OperationFailed(f"{what} is missing.")
    return value
