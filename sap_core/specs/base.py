"""The base of all specs: unknown fields are errors, and an error is one line that names the field."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import InvalidInput

AUTO = "auto"


class Spec(BaseModel):
    """Common base: unknown fields are errors, and an error is one line that names the field."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def build(cls, **fields: Any):
        """The spec from keyword arguments.

        Raises:
            InvalidInput: a field is missing, unknown, of the wrong type, or out of its range.
        """
        try:
            return cls(**fields)
        except ValidationError as error:
            raise InvalidInput(_one_line(error)) from None


def _one_line(error: ValidationError) -> str:
    parts = []
    for item in error.errors():
        cause = (item.get("ctx") or {}).get("error")
        if isinstance(cause, InvalidInput):
            parts.append(str(cause))
            continue
        field = ".".join(str(part) for part in item["loc"]) or "spec"
        if item["type"] == "missing":
            parts.append(f"{field} is missing; it is required.")
            continue
        parts.append(f"{field} is {item.get('input')!r}: {item['msg'][0].lower()}{item['msg'][1:]}.")
    return " ".join(parts)
