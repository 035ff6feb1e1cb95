"""``sap evaluate``."""

from __future__ import annotations

from typing import Any

import typer

from ..byte_size import format_bytes
from ..specs import EvaluateSpec
from ..texts.wording import speed_words, texts_line, with_error
from . import options as opt
from .console import cell, emit, table, work


def register(app: typer.Typer) -> None:
    """Add the command of this file to ``app``."""
    app.command()(evaluate)


@opt.from_specs(EvaluateSpec)
def evaluate(fields: dict[str, Any], as_json: opt.Json = False) -> None:
    """Measure likelihood, task scores, speed and size; with a baseline, both on the same texts and masks."""
    spec = EvaluateSpec.build(**fields)
    with work("evaluate") as progress:
        from ..evaluation.api import evaluate as measure

        document = measure(spec.model, spec=spec, progress=progress)
    emit(document, as_json, lambda: lines(document))


def lines(document: dict[str, Any]) -> list[str]:
    """Return the lines of a table with one column per model and one row per measure."""
    sides = {"model": document} | ({"baseline": document["baseline"]} if document.get("baseline") else {})
    rows: list[dict[str, Any]] = [{"measure": "model"} | {side: found["model"] for side, found in sides.items()}]

    def add(measure: str, value: Any) -> None:
        rows.append({"measure": measure} | {side: value(found) for side, found in sides.items()})

    kind = document["likelihood"]["kind"]
    add(f"nats/token ({kind}) ± SE", lambda found: with_error(found["likelihood"]))
    add(f"perplexity ({kind})", lambda found: cell(found["likelihood"]["perplexity"]))
    scored = document.get("tasks") or {}
    for group, tasks in (("", scored), ("infilling ", scored.get("infilling") or {})):
        for task in tasks:
            if task != "infilling":
                add(f"{group}{task} right, 95 %", lambda found, g=group, t=task: _task(found, g, t))
    for n in (1, 2, 3) if document.get("generation") else ():
        add(f"distinct-{n}", lambda found, n=n: cell(found["generation"][f"distinct_{n}"]))
    add("tokens/s", lambda found: cell(found["tokens_per_second"]))
    add("seconds per generation", lambda found: cell(found["seconds"]))
    add("peak memory", lambda found: format_bytes(found["peak_memory"]))
    add("parameters", lambda found: f"{found['parameters']:,}")
    add("non-zero parameters", lambda found: f"{found['nonzero_parameters']:,}")
    add("weights", lambda found: format_bytes(found["bytes"]))
    add("zeros per layer", lambda found: " ".join(f"{row['sparsity']:.0%}" for row in found["layers"]))
    shown = table(rows, {"measure": "", **{side: side for side in sides}})
    shown = shown[2:] if len(sides) == 1 else shown
    if document.get("difference"):
        shown.append("")
        shown.append(f"Model minus baseline (paired): {with_error(document['difference'], '+.4g')} nats/token")
        shown.append(f"KL from the baseline: {with_error(document['kl'])} nats/token")
        ratios = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in document["ratios"].items())
        shown.append(f"Model over baseline: {ratios}")
        if document.get("speedup") is not None:
            shown.append(f"Speed over the baseline's: {speed_words(document)}")
    if document.get("agreement"):
        found = document["agreement"]
        shown.append(f"Same tokens as the baseline: {found['same_tokens']:.1%} of {found['texts']} texts")
    return [*shown, texts_line(document["texts"])]


def _task(found: dict[str, Any], group: str, task: str) -> str:
    scores = found.get("tasks") or {}
    score = (scores.get("infilling") or {} if group else scores).get(task)
    return f"{score['score']:.1%}, {score['low']:.1%} to {score['high']:.1%} (n={score['n']})" if score else "-"
