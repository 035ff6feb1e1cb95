"""A spec's fields as options of a command: their names and help, and their values as text and back.

The command line, the commands that the pages show, and the help texts of the forms are made from this.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import Field
from pydantic.fields import FieldInfo

from ..errors import InvalidInput

HIDDEN = ("kind", "strategy")  # say which spec it is; no one is asked


def option(
    default: Any = ...,
    help: str = "",
    *,
    shown: str | None = None,
    name: str | None = None,
    reads: str = "",
    offered: tuple[float | None, float | None] = (None, None),
    **bounds: Any,
) -> Any:
    """Return a field that is an option of a command.

    Args:
        default: Left out if the field is required.
        help: One or more sentences.
        shown: The default as help shows it, if the value does not say it.
        name: Of the option, if it is not the field's; of a boolean also "yes/no".
        reads: "file" (made absolute), "texts" (a calibration source, its files made absolute) or "run" (a run's folder
            or id).
        offered: Least and largest value that a form offers, where the bounds do not say it.
        bounds: ge, le, gt, lt, min_length, as `pydantic.Field` takes them.
    """
    extra: dict[str, Any] = {"shown": shown, "name": name, "reads": reads, "offered": list(offered)}
    return Field(default, description=help, json_schema_extra=extra, **bounds)


def fields_of(*specs: type) -> dict[str, FieldInfo]:
    """Return the fields of the specs by name; a field of several specs once."""
    result: dict[str, FieldInfo] = {}
    for spec in specs:
        result |= {
            name: field for name, field in spec.model_fields.items() if name not in HIDDEN and name not in result
        }
    return result


def help_of(spec: type, name: str) -> str:
    """Return the help text of a field."""
    return spec.model_fields[name].description or ""


def option_name(name: str, field: FieldInfo) -> str:
    """Return ``--the-field``, or the name that the field gives its option."""
    return option_flags(name, field)[0]


def option_flags(name: str, field: FieldInfo) -> tuple[str, str]:
    """Return the option and, for a boolean, its negation: ``--the-field`` and ``--no-the-field``."""
    yes, _, no = (_extra(field, "name") or name).replace("_", "-").partition("/")
    return f"--{yes}", f"--{no or 'no-' + yes}"


def reads(field: FieldInfo) -> str:
    """Return what the text of a field names: "file", "texts", "run", or "" for a plain value."""
    return _extra(field, "reads") or ""


def offered(field: FieldInfo, step: float) -> tuple[float | None, float | None]:
    """Return the least and the largest value that a form offers; a bound that is excluded is a ``step`` away."""
    bound = {
        key: getattr(rule, key) for rule in field.metadata for key in ("ge", "gt", "le", "lt") if hasattr(rule, key)
    }
    least, largest = _extra(field, "offered") or (None, None)
    least = bound["gt"] + step if "gt" in bound else bound.get("ge", least)
    return least, bound["lt"] - step if "lt" in bound else bound.get("le", largest)


def shown_default(field: FieldInfo) -> str | Literal[False]:
    """Return the default as help shows it; False if there is none to show."""
    shown = _extra(field, "shown")
    if shown is not None or field.is_required() or field.default in (None, "", ()) or isinstance(field.default, bool):
        return shown or False
    return to_text(field.default)


def plain_type(field: FieldInfo) -> Any:
    """Return a field's type without None; of a choice of strings: str."""
    kind = field.annotation
    if get_origin(kind) in (Union, UnionType):
        kind = next(part for part in get_args(kind) if part is not type(None))
    return str if get_origin(kind) is Literal else kind


def is_list(field: FieldInfo) -> bool:
    """Return whether a field holds several values."""
    return get_origin(plain_type(field)) is tuple


def to_text(value: Any) -> str:
    """Return a value as an option accepts it: lists with commas, heads as LAYER.HEAD, numbers exactly."""
    if isinstance(value, tuple | list):
        if value and all(isinstance(pair, tuple | list) for pair in value):
            return ",".join(f"{layer}.{head}" for layer, head in value)
        return ",".join(map(to_text, value))
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return str(value)


def list_from_text(name: str, field: FieldInfo, parts: list[str]) -> tuple[Any, ...]:
    """Return the values of a list field from the texts of its option, each with commas.

    Raises:
        InvalidInput: nothing between two commas, or no number or head where one is needed.
    """
    said, (kind, *_) = ",".join(parts), get_args(plain_type(field))
    texts = [part.strip() for part in said.split(",")]
    if get_origin(kind) is tuple:
        pairs = [re.fullmatch(r"(\d+)\.(\d+)", text) for text in texts]
        if not all(pairs):
            raise InvalidInput(f"{name} is '{said}'; expected LAYER.HEAD pairs such as 0.1,2.3.")
        return tuple((int(pair[1]), int(pair[2])) for pair in pairs if pair)
    try:
        values = tuple(kind(text) for text in texts)
    except ValueError:
        example = "0,1,2" if kind is int else "0.3,0.5"
        raise InvalidInput(
            f"{name} is '{said}'; expected numbers with commas between them, such as {example}."
        ) from None
    if "" in values:
        raise InvalidInput(f"{name} is '{said}'; expected values with commas between them.")
    return values


def absolute(path: str | Path) -> str:
    """Return the absolute path of a file or folder, for a spec that outlives the working folder."""
    return str(Path(path).expanduser().absolute())


def absolute_texts(source: str) -> str:
    """Return a calibration source whose files and local data sets are absolute paths."""
    if source == "demo":
        return source
    if source.startswith("dataset:"):
        folder = Path(source.removeprefix("dataset:")).expanduser()
        return f"dataset:{folder.absolute()}" if folder.is_dir() else source
    return absolute(source)


def _extra(field: FieldInfo, key: str) -> Any:
    return field.json_schema_extra.get(key) if isinstance(field.json_schema_extra, dict) else None
