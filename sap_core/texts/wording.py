"""What a table, a card and a page say of the texts beside a number, in the same words."""

from __future__ import annotations

from typing import Any


def texts_line(facts: dict[str, Any]) -> str:
    """Return one sentence on what was measured on.

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


def with_error(found: dict[str, Any], form: str = ".4g", key: str = "nats_per_token") -> str:
    """Return "value ± standard error"; the value alone where one text gives no error.

    Args:
        found: {key, "standard_error"}.
        form: Format of the value; the error has two significant digits.
    """
    value, error = found[key], found.get("standard_error")
    return f"{value:{form}}" if error is None else f"{value:{form}} ± {_two_digits(error)}"


def _two_digits(error: float) -> str:
    """Return an error with two significant digits, zeros among them."""
    return f"{error:#.2g}".rstrip(".")
