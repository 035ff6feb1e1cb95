"""The base of all specs: unknown fields are errors, and an error is one line that names the field."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from ..errors import InvalidInput

AUTO = "auto"
LARGEST = 2**31 - 1  # of any whole number in a spec
SEED = "The same seed gives the same result."
SEEDS = (0, 2**31 - 1)  # what forms offer
NAME = "Shown in the list of runs."
KEEP = "Elastic checkpoint: the share of its heads and channels, such as 0.7."
OVERWRITE = "Replace the model folder that is there."
VERIFY = "Load what was written in a fresh process and compare."
S = TypeVar("S", bound="Spec")


class Spec(BaseModel):
    """Common base of all specs; see the module."""

    if TYPE_CHECKING:
        kind: Any  # every action names its own

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        """Check that text can be a path and be in JSON, that numbers are finite, and integers fit into 64 bits."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, str):
                    _check_text(name, part)
                elif isinstance(part, float) and not math.isfinite(part):
                    raise InvalidInput(f"{name} is {part}; expected a finite number.")
                elif type(part) is int and abs(part) > LARGEST:
                    raise InvalidInput(f"{name} is {str(part)[:40]}; expected at most {LARGEST}.")
                elif type(part) is int and part < 0 and "seed" in name:
                    raise InvalidInput(f"{name} is {part}; expected a whole number from 0 to {LARGEST}.")
        return self

    @classmethod
    def build(cls, **fields: Any) -> Self:
        """Return the spec of keyword arguments.

        Raises:
            InvalidInput: a field is missing, unknown, of the wrong type, or out of its range.
        """
        try:
            return cls(**fields)
        except ValidationError as error:
            raise InvalidInput(_one_line(error)) from None

    @classmethod
    def given(cls, **fields: Any) -> Self:
        """Return the spec of those keyword arguments that are not None.

        Raises:
            InvalidInput: as `build`.
        """
        return cls.build(**{name: value for name, value in fields.items() if value is not None})


def asked_spec(build: Callable[..., S], model: Any, spec: S | None, fields: Mapping[str, Any]) -> S:
    """Return the spec that an action was given, or the one that ``build`` makes of its fields.

    Every action checks its arguments here: a spec comes alone, and for the model that it names.

    Args:
        build: The spec's `Spec.build`, or a function like it.
        model: The model that was given, loaded or by name; None if the action has none, or it is in the spec.
        spec: The spec that was given, if any.
        fields: The fields that were given; beside a spec, all must be None.

    Raises:
        InvalidInput: a spec together with fields, or of another model; a field that does not fit.
    """
    reference = model_reference(model)
    if spec is None:
        return build(**({} if reference is None else {"model": reference}) | _adapter_of(model) | dict(fields))
    given = [name for name, value in fields.items() if value is not None]
    if given:
        raise InvalidInput(f"give a spec or its fields, not both ({', '.join(given)}).")
    if reference is not None:
        check_same_model(reference, getattr(spec, "model", reference))
        loaded, named = _adapter_of(model).get("adapter"), getattr(spec, "adapter", None)
        if not isinstance(model, str) and loaded != (named and os.path.abspath(named)):
            raise InvalidInput(f"the model has adapter {loaded or 'none'} but the spec names {named or 'none'}.")
    return spec


def _adapter_of(model: Any) -> dict[str, str]:
    """Return the adapter that a loaded model holds, as a field of a spec; empty where it holds none."""
    adapter = getattr(getattr(model, "info", None), "adapter", "")
    return {"adapter": adapter} if adapter else {}


def model_reference(model: Any) -> str | None:
    """Return the name or path of a model, loaded or not."""
    return None if model is None else str(getattr(getattr(model, "info", None), "ref", model))


def check_same_model(given: str, named: str | None, what: str = "model") -> None:
    """Raise InvalidInput unless a given model and the one that a spec names have the same reference."""
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
