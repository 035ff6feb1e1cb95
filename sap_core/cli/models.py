"""``sap models``: list the model families, or describe one model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from ..byte_size import format_bytes
from ..errors import InvalidInput
from ..specs import CONVENTIONS, CaptureSpec, ConventionsSpec
from ..specs.options import absolute
from . import options as opt
from .console import cell, emit, table, work

# What the memory of a capture depends on, and how the model is to be called.
SHOWN = ("length", "steps", "dtype", "device", "trust_remote_code", *CONVENTIONS)


def register(app: typer.Typer) -> None:
    """Add the command of this file to ``app``."""
    app.command()(models)


@opt.from_specs(CaptureSpec, only=SHOWN)
def models(
    fields: dict[str, Any],
    model: Annotated[
        str | None, typer.Argument(help="demo:NAME, a folder or a Hub id to describe.", show_default=False)
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Measure which conventions explain a few texts best (loads the model).")
    ] = False,
    text: Annotated[
        str | None, typer.Option(help="FILE.txt for --check, one text a line.", show_default="plain English")
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """List the model families that can be loaded, or describe one model and its needs without reading its weights."""
    if model is None:
        from ..models.family_registry import families_table

        rows = families_table()
        columns = {"family": "family", "title": "title", "objective": "objective", "samplers": "samplers"}
        columns |= {"pruning": "pruning", "export": "export"}
        emit(rows, as_json, lambda: table(rows, columns))
        return
    from ..models.conventions import describe_conventions
    from ..models.inspection import inspect_model

    if check:
        asked = {name: value for name, value in fields.items() if name in ConventionsSpec.model_fields}
        given = {"text": None if text is None else absolute(text)}
        _check(ConventionsSpec.given(model=model, **given, **asked), as_json)
        return
    if text is not None:
        raise InvalidInput("--text belongs to --check, which measures the model on it; add --check.")
    spec = CaptureSpec.build(model=model, **fields)
    info = inspect_model(model, **spec.inspecting)
    memory = _memory(info, spec)
    described = info.to_dict()
    facts = described | {"bytes": format_bytes(info.bytes), "parameters": f"{info.parameters:,}"}
    del facts["conventions"], facts["shift_logits"], facts["block_size"]
    facts |= describe_conventions(info.conventions)
    facts |= {"memory": _words(memory), "fits": memory["fits"]}
    emit(
        described | {"memory": memory},
        as_json,
        lambda: [f"{name.replace('_', ' '):<15} {cell(value)}" for name, value in facts.items()],
    )


def _check(spec: Any, as_json: bool) -> None:
    """Measure every combination of conventions and print them, best first."""
    with work("models", lambda: "nothing was changed") as progress:
        from ..evaluation.conventions import check_conventions

        report = check_conventions(spec.model, text=spec.text, progress=progress, **spec.loading)

    def show() -> Iterator[str]:
        yield f"Nats per token on {report.windows} windows of {report.texts}:"
        for reading in report.readings:
            number = "-" if reading.nats is None else f"{reading.nats:.3f}"
            used = "  in use" if reading.in_use else ""
            yield f"{number:>8}  {reading.options}{used}{f'  {reading.note}' if reading.note else ''}"
        yield ""
        yield report.verdict

    emit(report.to_dict(), as_json, show)


def _memory(info: Any, spec: Any) -> dict[str, Any]:
    """Return the memory estimate of a capture by ``spec``, the free memory, and whether it is enough."""
    from ..models.memory import available_memory, estimate_memory
    from ..samplers.check import default_steps

    length = min(spec.length, info.max_length or spec.length)
    steps = default_steps(info, spec, length)
    need = estimate_memory(info, dtype=spec.dtype, length=length, steps=steps)
    free = available_memory(spec.device)
    asked = {"dtype": spec.dtype, "device": spec.device, "length": length, "steps": steps}
    return {**asked, **need, "available": free, "fits": need["total"] < free}


def _words(memory: dict[str, Any]) -> str:
    total, free, disk = (format_bytes(memory[name]) for name in ("total", "available", "trajectory"))
    return (
        f"{total} for a capture of {memory['length']} tokens in {memory['steps']} steps "
        f"({free} free), {disk} on disk afterwards"
    )
