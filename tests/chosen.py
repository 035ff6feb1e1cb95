"""Which of many parameters are tried: the helpers for parametrisations that take one code path over many values."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import pytest


def mostly_slow(values: Iterable[Any], quick: int = 3) -> list[Any]:
    """All values; those that are not among ``quick`` ones, spread evenly, are marked slow."""
    values = list(values)
    stride = max(1, len(values) // quick)
    return [value if at % stride == 0 else _slow(value) for at, value in enumerate(values)]


def a_third(values: Iterable[Any], quick: int = 3) -> list[Any]:
    """Every third value, or all of them with ZOO=all (`make zoo`); all but ``quick`` ones are marked slow."""
    values = list(values)
    return mostly_slow(values if os.environ.get("ZOO") == "all" else values[::3], quick)


def _slow(value: Any) -> Any:
    if hasattr(value, "marks"):  # a pytest.param
        return pytest.param(*value.values, id=value.id, marks=(*value.marks, pytest.mark.slow))
    values = value if isinstance(value, tuple) else (value,)
    return pytest.param(*values, marks=pytest.mark.slow)
