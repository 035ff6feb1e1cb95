"""``sap evaluate``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from . import options as opt
from .console import (
    cell,
    emit,
    size,
    table,
    work,
)


def register(app: typer.Typer) -> None:
    app.command()(evaluate)


def evaluate(
    model: opt.Model,
    baseline: Annotated[
        str | None, typer.Option(help="The dense model to compare with, on the same masks.", show_default=False)
    ] = None,
    text: Annotated[str | None, typer.Option(help="FILE.txt.", show_default="held-out demo stories")] = None,
    samples: Annotated[int | None, typer.Option(help="Texts.", show_default="32")] = None,
    draws: Annotated[int | None, typer.Option(help="Mask draws per text (diffusion).", show_default="8")] = None,
    tasks: Annotated[
        bool | None, typer.Option(help="Score the demo's three tasks where the model knows them.", show_default="tasks")
    ] = None,
    keep: opt.Keep = None,
    generate: Annotated[
        int | None,
        typer.Option(help="Texts each model goes on with, to see how varied and alike they write.", show_default="8"),
    ] = None,
    seed: opt.Seed = None,
    dtype: opt.Dtype = None,
    device: opt.Device = None,
    trust_remote_code: opt.RemoteCode = None,
    mask_token_id: opt.MaskToken = None,
    causal: opt.Causal = None,
    shift_logits: opt.ShiftLogits = None,
    block_size: opt.BlockSize = None,
    as_json: opt.Json = False,
) -> None:
    """Measure likelihood, task scores, speed and size; with a baseline, both on the same texts and masks."""
    from ..specs import EvaluateSpec

    spec = EvaluateSpec.build(
        model=model,
        **opt.given(
            baseline=baseline,
            text=opt.absolute(text),
            samples=samples,
            draws=draws,
            tasks=tasks,
            keep=keep,
            generate=generate,
            seed=seed,
            dtype=dtype,
            device=device,
            trust_remote_code=trust_remote_code,
            mask_token_id=mask_token_id,
            causal=causal,
            shift_logits=shift_logits,
            block_size=block_size,
        ),
    )
    with work("evaluate") as progress:
        from ..evaluation.api import evaluate as measure

        document = measure(spec.model, spec=spec, progress=progress)
    emit(document, as_json, lambda: lines(document))


def lines(document: dict[str, Any]) -> list[str]:
    """One column per model, one row per measure."""
    sides = {"model": document} | ({"baseline": document["baseline"]} if document.get("baseline") else {})
    rows: list[dict[str, Any]] = [{"measure": "model"} | {side: found["model"] for side, found in sides.items()}]

    def add(measure: str, value: Any) -> None:
        rows.append({"measure": measure} | {side: value(found) for side, found in sides.items()})

    kind = document["likelihood"]["kind"]
    add(f"nats/token ({kind}) ± SE", lambda found: _pm(found["likelihood"], "nats_per_token"))
    add(f"perplexity ({kind})", lambda found: cell(found["likelihood"]["perplexity"]))
    scored = document.get("tasks") or {}
    for group, tasks in (("", scored), ("infilling ", scored.get("infilling") or {})):
        for task in tasks:
            if task != "infilling":
                add(f"{group}{task} right ± SE", lambda found, g=group, t=task: _task(found, g, t))
    for n in (1, 2, 3) if document.get("generation") else ():
        add(f"distinct-{n}", lambda found, n=n: cell(found["generation"][f"distinct_{n}"]))
    add("tokens/s", lambda found: cell(found["tokens_per_second"]))
    add("seconds per generation", lambda found: cell(found["seconds"]))
    add("peak memory", lambda found: size(found["peak_memory"]))
    add("parameters", lambda found: f"{found['parameters']:,}")
    add("non-zero parameters", lambda found: f"{found['nonzero_parameters']:,}")
    add("weights", lambda found: size(found["bytes"]))
    add("zeros per layer", lambda found: " ".join(f"{row['sparsity']:.0%}" for row in found["layers"]))
    shown = table(rows, {"measure": "", **{side: side for side in sides}})
    shown = shown[2:] if len(sides) == 1 else shown
    if document.get("difference"):
        shown.append("")
        shown.append(f"Model minus baseline (paired): {_pm(document['difference'], 'nats_per_token')} nats/token")
        ratios = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in document["ratios"].items())
        shown.append(f"Model over baseline: {ratios}")
    if document.get("agreement"):
        found = document["agreement"]
        shown.append(f"Same tokens as the baseline: {found['same_tokens']:.1%} of {found['texts']} texts")
    return shown


def _pm(found: dict[str, Any], key: str) -> str:
    return f"{cell(found[key])} ± {cell(found['standard_error'])}"


def _task(found: dict[str, Any], group: str, task: str) -> str:
    scores = found.get("tasks") or {}
    score = (scores.get("infilling") or {} if group else scores).get(task)
    return f"{score['score']:.1%} ± {cell(score.get('standard_error'))} (n={score['n']})" if score else "-"
