"""The error of 8-bit storage in one run, measured while it is written."""

from __future__ import annotations

from typing import Any

import numpy as np

from .quantization import decode_rows


class CodeError:
    """Largest absolute error of a value, largest error of a row's sum, and root mean square error so far."""

    def __init__(self) -> None:
        self._largest = self._sum = self._squares = 0.0
        self._count = 0

    def add(self, values: np.ndarray, codes: np.ndarray, top: np.ndarray) -> None:
        """Compare attention (..., S) with what its codes decode to."""
        error = decode_rows(codes, top) - values
        if not np.isfinite(error).all():
            error = np.nan_to_num(error)
        self._largest = max(self._largest, float(np.abs(error).max(initial=0)))
        self._sum = max(self._sum, float(np.abs(error.sum(axis=-1)).max(initial=0)))
        self._squares += float(np.vdot(error, error))
        self._count += error.size

    @property
    def numbers(self) -> list[float]:
        """Everything it knows, to go on elsewhere."""
        return [self._largest, self._sum, self._squares, float(self._count)]

    @numbers.setter
    def numbers(self, numbers: list[float]) -> None:
        self._largest, self._sum, self._squares, count = numbers
        self._count = int(count)

    def to_dict(self) -> dict[str, Any]:
        """Return the errors, JSON-able; empty if nothing was encoded."""
        if not self._count:
            return {}
        return {
            "largest_error": self._largest,
            "rms_error": (self._squares / self._count) ** 0.5,
            "largest_error_of_a_row_sum": self._sum,
        }
