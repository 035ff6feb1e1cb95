"""The base of all specs: unknown fields are errors, and an error is one line that names the field."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from ..errors import InvalidInput

AUTO = "auto"
LARGEST = 2**31 - 1  # of any whole number in a spec
SEED = "The same seed gives the same result."
NAME = "Shown in the list of runs."
KEEP = "Elastic checkpoint: the share of its heads and channels, such as 0.7."
OVERWRITE = "Replace the model folder that is there."
VERIFY = "Load what was written in a fresh process and compare."
S = TypeVar("S", bound="Spec")


class Spec(BaseModel):
    """Common base: unknown fields are errors, and an error is one line that names the field."""

    if TYPE_CHECKING:
        kind: Any  # every action names its own

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

    @classmethod
    def given(cls, **fields: Any):
        """The spec from those keyword arguments that are not None. Raises as `build`."""
        return cls.build(**{name: value for name, value in fields.items() if value is not None})


def asked_spec(build: Callable[..., S], model: Any, spec: S | None, fields: Mapping[str, Any]) -> S:
    """Return the spec that an action was given, or the one that ``build`` makes of its fields.

    The one check of every action: a spec comes alone, and for the model that it names.

    Args:
        build: the spec's `Spec.build`, or a function like it.
        model: the model that was given, loaded or by name; None where the action has none, or it is in the spec.
        fields: the fields that were given; beside a spec, all must be None.

    Raises:
        InvalidInput: a spec together with fields, or of another model; a field that does not fit.
    """
    reference = model_reference(model)
    if spec is None:
        return build(**({} if reference is None else {"model": reference}) | dict(fields))
    given = [name for name, value in fields.items() if value is not None]
    if given:
        raise InvalidInput(f"give a spec or its fields, not both ({', '.join(given)}).")
    if reference is not None:
        check_same_model(reference, getattr(spec, "model", reference))
    return spec


def model_reference(model: Any) -> str | None:
    """Return the name or path that a model, loaded or not, goes by."""
    return None if model is None else str(getattr(getattr(model, "info", None), "ref", model))


def check_same_model(given: str, named: str | None, what: str = "model") -> None:
    """InvalidInput unless the reference of a given model and the one that a spec names are the same."""
    if named is not None and (given == named or os.path.abspath(given) == os.path.abspath(named)):
        return
    raise InvalidInput(
        f"the {what} is {given} but the spec names {named or 'none'}; give the {what} of the spec, or fields instead."
    )


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
