"""``sap tradeoff``: every measured plan of a model, best first. Needs no model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from ..errors import UnknownOption
from ..specs import ModelOptions
from ..texts.wording import speed_cell, with_error
from . import options as opt
from .console import emit, table

# What may be gained: the column of `measured_plans`, and whether more of it is better.
COSTS = {"size": ("size", False), "memory": ("memory", False), "speed": ("speedup", True)}


def register(app: typer.Typer) -> None:
    """Add the command of this file to ``app``."""
    app.command()(tradeoff)


@opt.from_specs(ModelOptions, only=("model",))
def tradeoff(
    fields: dict[str, Any],
    cost: Annotated[str, typer.Option(help="What pruning is for: size, memory or speed.")] = "size",
    frontier: Annotated[bool, typer.Option("--frontier", help="Only plans that no other beats in both.")] = False,
    as_json: opt.Json = False,
) -> None:
    """List the measured plans of a model, from applied prunings and sweeps (finished or running): loss against cost."""
    from ..sweeps import best_plans, measured_plans

    model = fields["model"]
    if cost not in COSTS:
        raise UnknownOption("cost", cost, COSTS)
    plans = measured_plans(model)
    best = best_plans(plans, *COSTS[cost])
    shown = plans[plans["id"].isin(best["id"])] if frontier else plans
    shown = shown.assign(frontier=shown["id"].isin(best["id"])).sort_values("loss", kind="stable")
    rows = shown.drop(columns="spec").astype(object).where(shown.notna(), None).to_dict(orient="records")

    def lines() -> Iterable[str]:
        if not rows:
            return [f"No measured plan of {model}; `sap sweep` measures many, Apply on the Prune page one."]
        told = [
            {
                "plan": record["label"],
                "in": record["source"],
                "change": with_error(record, "+.4g", "loss", "error"),
                "left": f"{record['size']:.0%}" if record["size"] is not None else "",
                "speed": speed_cell(record),
                "best": "yes" if record["frontier"] else "",
            }
            for record in rows
        ]
        columns = {"plan": "plan", "in": "measured in", "change": "nats/token vs dense", "left": "parameters left"}
        return table(told, columns | {"speed": "speed over dense", "best": "frontier"})

    emit(rows, as_json, lines)
