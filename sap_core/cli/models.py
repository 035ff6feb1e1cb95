"""``sap models``: what can be loaded, and what a given model is."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options as opt
from .screen import cell, emit, size, table


def register(app: typer.Typer) -> None:
    app.command()(models)


def models(
    model: Annotated[
        str | None, typer.Argument(help="demo:NAME, a folder or a Hub id to describe.", show_default=False)
    ] = None,
    mask_token_id: opt.MaskToken = None,
    as_json: opt.Json = False,
) -> None:
    """The families of models that load here; or, without reading its weights, what one model is."""
    if model is None:
        from ..models.families import families_table

        rows = families_table()
        columns = {"family": "family", "title": "title", "objective": "objective", "samplers": "samplers"}
        columns |= {"pruning": "pruning", "export": "export"}
        emit(rows, as_json, lambda: table(rows, columns))
        return
    from ..models.info import inspect_model

    info = inspect_model(model, mask_token_id=mask_token_id).to_dict()
    facts = info | {"bytes": size(info["bytes"]), "parameters": f"{info['parameters']:,}"}
    emit(info, as_json, lambda: [f"{name.replace('_', ' '):<15} {cell(value)}" for name, value in facts.items()])
