"""Number inputs made from the fields of specs: bounds, default and help are written there."""

from __future__ import annotations

from typing import Any

from ...specs.options import fields_of, help_of, offered, plain_type


def number_of(
    spec: type, name: str, *, most: float | None = None, step: float | None = None, **changes: Any
) -> dict[str, Any]:
    """Return the arguments of `st.number_input` or `st.slider` for a field of a spec.

    Args:
        spec: Class of the spec.
        name: Its field.
        most: Largest value that is offered; needed where the field has no upper bound.
        step: Step of the input; for a field that must be greater than its bound, the input begins one step above it.
        changes: Arguments that replace those of the field.
    """
    field = fields_of(spec)[name]
    kind = plain_type(field)
    by = kind(1 if step is None else step)
    low, high = offered(field, by)
    value = None if field.is_required() or field.default is None else kind(field.default)
    limits = {"min_value": None if low is None else kind(low), "max_value": kind(most if high is None else high)}
    return {**limits, "value": value, "step": by, "help": help_of(spec, name), **changes}
