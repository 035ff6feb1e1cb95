"""The base of all specs: unknown fields are errors, and an error is one line that names the field."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from ..errors import InvalidInput

AUTO = "auto"
LARGEST = 2**31 - 1  # of any whole number in a spec


class Spec(BaseModel):
    """Common base: unknown fields are errors, and an error is one line that names the field."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        """Text that can be a path and stand in a JSON document; whole numbers that every library here can take."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, str):
                    _check_text(name, part)
                elif type(part) is int and abs(part) > LARGEST:
                    raise InvalidInput(f"{name} is {str(part)[:40]}; expected at most {LARGEST}.")
                elif type(part) is int and part < 0 and "seed" in name:
                    raise InvalidInput(f"{name} is {part}; expected a whole number from 0 to {LARGEST}.")
        return self

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


def _check_text(name: str, text: str) -> None:
    if "\0" in text and name != "prompts":
        raise InvalidInput(f"{name} is {text[:80]!r}, with a NUL character, which no path or name can hold.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{name} is {text[:80]!a}, which is no Unicode text; write it again.") from None


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
        parts.append(f"{field} is {_shown(item.get('input'))}: {item['msg'][0].lower()}{item['msg'][1:]}.")
    return " ".join(parts)


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a number too long to show"
    return text if len(text) <= 200 else f"{text[:200]}..."
