"""``sap heal``: win back what a pruning lost, by learning from the dense model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from ..errors import InvalidInput
from ..specs import HealSpec
from ..texts.wording import texts_line, with_error
from . import options as opt
from .console import cell, emit, table, work
from .prune_text import export_lines


def register(app: typer.Typer) -> None:
    """Add the command of this file to ``app``."""
    app.command()(heal)


@opt.from_specs(HealSpec, arguments=("model",))
def heal(fields: dict[str, Any], as_json: opt.Json = False) -> None:
    """Train a pruned model on the predictions of the dense one; zeros stay zero, shapes stay."""
    spec = HealSpec.build(**fields)
    if spec.out is None:
        raise InvalidInput("No place to write to: give --out DIR.")

    def kept() -> str:
        return f"the state of the last measurement is kept beside {spec.out}; the same command goes on from there"

    with work("heal", kept) as progress:
        from ..export.healed import heal as apply

        healed = apply(spec.model, spec=spec, progress=progress)
    document = {"report": healed.report, "quality": healed.quality, "export": healed.export.to_dict()}
    emit(document, as_json, lambda: _lines(healed))


def _lines(healed: Any) -> Iterator[str]:
    report, quality = healed.report, healed.quality
    named = {"step": "step", "loss": "KL, training", "kl": "KL, held-out", "nats_per_token": "nats/token, held-out"}
    shown = [check | {"best": "<-" if check["step"] == report["best_step"] else ""} for check in report["checks"]]
    yield from table(shown, named | {"best": ""})
    yield ""
    learning = report["learning"]
    why = "no gain on held-out texts" if report["stopped"] == "held-out" else "all steps done"
    yield (
        f"{report['steps']} of {report['asked']} steps ({why}); the weights of step {report['best_step']} are kept. "
        f"{learning['parameters']:,} of {learning['of']:,} values learned."
    )
    if report["best_step"] == 0:
        yield "No measurement was better than before: the weights are those that came."
    rows = [
        {"": name, "nats": with_error(quality[side]["likelihood"]), "kl": kl and with_error(kl)}
        for name, side, kl in (
            ("dense", "dense", None),
            ("before", "before", quality["before"]["kl"]),
            ("healed", "pruned", quality["kl"]),
        )
    ]
    yield from table(rows, {"": "", "nats": "nats/token ± SE", "kl": "KL from dense"})
    yield f"Gain: {with_error(quality['gain'], '+.4g')} nats/token (paired){_share(quality)}."
    yield texts_line(quality["texts"])
    yield ""
    yield from export_lines(healed.export)


def _share(quality: dict[str, Any]) -> str:
    """Return how much of what was lost came back, where something was lost."""
    dense, before, after = (quality[side]["likelihood"]["nats_per_token"] for side in ("dense", "before", "pruned"))
    return f", {cell((before - after) / (before - dense) * 100)} % of what was lost" if before > dense else ""
