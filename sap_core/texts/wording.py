"""One wording, for tables, cards and pages, of the texts a number was measured on."""

from __future__ import annotations

import math
from typing import Any


def texts_line(facts: dict[str, Any]) -> str:
    """Return one sentence on the measured texts.

    Args:
        facts: As of `sap_core.texts.rows.TextSet.describe`.
    """
    unit = facts["unit"]
    count, available = facts[unit], facts.get("available")
    many = f"{count:,} {unit if count != 1 else unit[:-1]}"
    if available is not None and available != count:
        many = f"{count:,} of {available:,} {unit}"
    parts = [f"Measured on {many} ({facts['source']}), {facts['tokens']:,} tokens"]
    if facts["cut"]:
        parts.append(f"{facts['cut']:,} tokens cut off")
    if facts["dropped"]:
        what = "tokens of a last window" if unit == "windows" else "texts with nothing to predict"
        parts.append(f"{facts['dropped']:,} {what} dropped")
    parts.append(f"{facts['unknown']:.1%} unknown to the tokenizer")
    return "; ".join(parts) + "."


def with_error(
    found: dict[str, Any], form: str = ".4g", key: str = "nats_per_token", error_key: str = "standard_error"
) -> str:
    """Return "value ± standard error"; the value alone where one text gives no error.

    Args:
        found: {key, error_key}.
        form: Format of the value; the error has two significant digits.
        key: Of the value.
        error_key: Of its standard error.
        key: Key of the value.
    """
    value, error = found[key], found.get(error_key)
    return f"{value:{form}}" if error is None else f"{value:{form}} ± {_two_digits(error)}"


def changes_speed(found: dict[str, Any]) -> bool:
    """Return whether a speed differs from the dense model's by more than the noise of the turns it was timed in.

    Args:
        found: {"speedup", "speedup_low", "speedup_high"}, as of `sap_core.evaluation.cost.speedup`. Without an interval
            no change is known.
    """
    low, high = _speed_interval(found)
    return low > 1 or high < 1


def _speed_interval(found: dict[str, Any]) -> tuple[float, float]:
    low, high = found.get("speedup_low"), found.get("speedup_high")
    return (math.nan, math.nan) if low is None or high is None else (low, high)


def speed_words(found: dict[str, Any]) -> str:
    """Return "× 1.35 (95 %: 1.30 to 1.41)", or "no measurable change" and the interval that holds 1."""
    low, high = _speed_interval(found)
    if low != low:
        return f"× {found['speedup']:.2f}, noise unknown"
    if low == high == 1:
        return "no change"
    shown = f"× {found['speedup']:.2f}" if changes_speed(found) else "no measurable change"
    return f"{shown} (95 %: × {low:.2f} to {high:.2f})"


def speed_cell(found: dict[str, Any]) -> str:
    """Return `speed_words` for a table: "–" where the speed was not timed."""
    return "–" if found.get("speedup") is None or found["speedup"] != found["speedup"] else speed_words(found)


def _two_digits(error: float) -> str:
    """Return an error with two significant digits, trailing zeros included."""
    return f"{error:#.2g}".rstrip(".")
