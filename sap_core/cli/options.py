"""Options of commands: those made from the fields of specs, and those that several commands share.

An option that was not given is None and leaves the spec's own default in force.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from ..specs import CalibrationOptions, ModelOptions
from ..specs.options import (
    absolute,
    absolute_texts,
    fields_of,
    is_list,
    list_from_text,
    option_flags,
    option_name,
    plain_type,
    reads,
    shown_default,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Run = Annotated[str, typer.Argument(help="A run's folder, or its id.", show_default=False)]
Unfinished = Annotated[
    bool,
    typer.Option("--unfinished", help="Also a run that was interrupted or is being written: its steps so far."),
]
Rule = Annotated[str, typer.Option(help="What counts as a sink: column_sum, rate or zscore.")]
Threshold = Annotated[
    float | None, typer.Option(help="The rule's threshold, in its own unit.", show_default="the rule's own")
]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same result.", show_default="0")]
Workers = Annotated[
    int | None,
    typer.Option(help="Models at work at once.", show_default="one per GPU, or one; ray: as many as fit"),
]
Address = Annotated[str | None, typer.Option(help="Ray cluster: auto, local, or ray://HOST:PORT.", show_default="auto")]
GpusPerWorker = Annotated[
    float | None, typer.Option(help="Ray: may be a fraction.", show_default="1 where there are any")
]
CpusPerWorker = Annotated[float | None, typer.Option(help="Ray: cores a worker reserves.", show_default="1")]

_LAST = ("name", *ModelOptions.model_fields, "keep")  # a command's help ends with how the model is loaded
_SHORT = {"model": ("-m",)}


def from_specs(
    *specs: type, only: tuple[str, ...] = (), without: tuple[str, ...] = (), optional: tuple[str, ...] = (),
    arguments: tuple[str, ...] = (),
) -> Callable[[Callable[..., None]], Callable[..., None]]:  # fmt: skip
    """Give a command the fields of ``specs`` as options; its first parameter gets those that were given, by name.

    The command's other parameters are its own options, shown between the fields and the loading options.

    Args:
        *specs: Classes of specs.
        only: Fields that become options; default: all.
        without: Fields that do not become options.
        optional: Fields that may be left out although the spec requires them.
        arguments: Fields that are positional.
    """
    required = {name for spec in specs[:1] for name, field in spec.model_fields.items() if field.is_required()}
    fields = {
        name: field for name, field in fields_of(*specs).items() if name not in without and (not only or name in only)
    }

    def decorate(run: Callable[..., None]) -> Callable[..., None]:
        _, *rest = inspect.signature(run, eval_str=True).parameters.values()
        own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in rest]
        made = {
            name: _parameter(name, field, name in required and name not in optional, name in arguments)
            for name, field in fields.items()
        }

        def command(**values: Any) -> None:
            asked = given(**{name: values.pop(name) for name in made})
            run(given(**{name: _value(name, fields[name], value) for name, value in asked.items()}), **values)

        front = ["model"] if "model" in made else []
        late = (*CalibrationOptions.model_fields, "seed")
        order = front + [name for name in made if name not in (*_LAST, *late)] + [n for n in late if n in made]
        tail = [name for name in _LAST if name in made and name not in front]
        parameters = [made[name] for name in order] + [p for p in own if p.name != "as_json"]
        parameters += [made[name] for name in tail] + [p for p in own if p.name == "as_json"]
        command.__name__, command.__doc__, command.__module__ = run.__name__, run.__doc__, run.__module__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        return command

    return decorate


def _parameter(name: str, field: FieldInfo, required: bool, positional: bool) -> inspect.Parameter:
    kind = list[str] if is_list(field) else plain_type(field)
    if positional:
        info: Any = typer.Argument(help=field.description, show_default=False)
    else:
        yes, no = option_flags(name, field)
        names = [f"{yes}/{no}" if kind is bool and field.default is not False else yes, *_SHORT.get(name, ())]
        info = typer.Option(*names, help=field.description, show_default=shown_default(field), metavar=_metavar(field))
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if required else None,
        annotation=Annotated[kind if required else kind | None, info],
    )


def _metavar(field: FieldInfo) -> str | None:
    return "<A,B,...>" if is_list(field) else None


def _value(name: str, field: FieldInfo, value: Any) -> Any:
    """Return the value of an option's text."""
    if is_list(field):
        return list_from_text(option_name(name, field), field, value) if value else None
    read = {"file": absolute, "texts": absolute_texts, "run": _run_folder}.get(reads(field))
    return value if read is None else read(value)


def _run_folder(run: str) -> str:
    from ..runs.reading import open_run

    return str(open_run(run).path)


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
