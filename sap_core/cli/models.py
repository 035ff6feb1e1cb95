"""``sap models``: what can be loaded, and what a given model is."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from . import options as opt
from .console import (
    cell,
    emit,
    size,
    table,
)


def register(app: typer.Typer) -> None:
    app.command()(models)


def models(
    model: Annotated[
        str | None, typer.Argument(help="demo:NAME, a folder or a Hub id to describe.", show_default=False)
    ] = None,
    dtype: opt.Dtype = None,
    device: opt.Device = None,
    length: Annotated[int | None, typer.Option(help="Tokens of a capture, for its memory.", show_default="128")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of a capture, for its size.", show_default="64")] = None,
    mask_token_id: opt.MaskToken = None,
    as_json: opt.Json = False,
) -> None:
    """The families of models that load here; or, without reading its weights, what one model is and what it needs."""
    if model is None:
        from ..models.family_registry import families_table

        rows = families_table()
        columns = {"family": "family", "title": "title", "objective": "objective", "samplers": "samplers"}
        columns |= {"pruning": "pruning", "export": "export"}
        emit(rows, as_json, lambda: table(rows, columns))
        return
    from ..models.inspection import inspect_model
    from ..specs import CaptureSpec

    spec = CaptureSpec.build(model=model, **opt.given(dtype=dtype, device=device, length=length, steps=steps))
    info = inspect_model(model, mask_token_id=mask_token_id)
    memory = _memory(info, spec)
    described = info.to_dict()
    facts = described | {"bytes": size(info.bytes), "parameters": f"{info.parameters:,}"}
    facts |= {"memory": _words(memory), "fits": memory["fits"]}
    emit(
        described | {"memory": memory},
        as_json,
        lambda: [f"{name.replace('_', ' '):<15} {cell(value)}" for name, value in facts.items()],
    )


def _memory(info: Any, spec: Any) -> dict[str, Any]:
    """The estimate for a capture by ``spec``, what is free for it, and whether that is enough."""
    from ..models.family import MASKED_DIFFUSION
    from ..models.memory import available_memory, estimate_memory

    steps = spec.steps or (min(64, spec.length) if info.objective == MASKED_DIFFUSION else spec.length)
    need = estimate_memory(info, dtype=spec.dtype, length=spec.length, steps=steps)
    free = available_memory(spec.device)
    asked = {"dtype": spec.dtype, "device": spec.device, "length": spec.length, "steps": steps}
    return {**asked, **need, "available": free, "fits": need["total"] < free}


def _words(memory: dict[str, Any]) -> str:
    total, free, disk = (size(memory[name]) for name in ("total", "available", "trajectory"))
    return (
        f"{total} for a capture of {memory['length']} tokens in {memory['steps']} steps "
        f"({free} free), {disk} on disk afterwards"
    )
