"""A pruning as lines of text: its plan, its decisions, its loss, its export."""

from __future__ import annotations

from typing import Any

from ..byte_size import format_bytes
from ..texts.wording import texts_line, with_error
from .console import cell, table


def plan_lines(plan: Any) -> list[str]:
    """Return the plan per layer, then its total."""
    totals = plan.totals()
    lines = table(
        plan.per_layer().to_dict(orient="records"),
        {"layer": "layer", "weights": "weights", "zeros": "removed", "sparsity": "share", "heads": "heads removed"},
    )
    share = f"{totals['zeros']:,} of {totals['weights']:,} weights removed ({totals['sparsity']:.1%})"
    lines += ["", f"{plan.method}, {plan.pattern}: {share}, {totals['of_all_parameters']:.1%} of all parameters."]
    if plan.heads:
        lines.append("Heads removed (layer.head): " + " ".join(f"{layer}.{head}" for layer, head in plan.heads))
    if plan.shape:
        lines += [f"Remaining: {plan.left().words()}.", f"An export loads with {plan.loads}."]
    return [*lines, *([f"Still open: {plan.pending}."] if plan.pending else [])]


def quality_lines(quality: dict[str, Any]) -> list[str]:
    """Return the measures of the dense and the pruned model side by side."""
    rows = [
        {"": side, "nats": with_error(found), "kind": found["kind"]}
        for side in ("dense", "pruned")
        for found in [quality[side]["likelihood"]]
    ]
    difference = quality["difference"]
    lines = table(rows, {"": "", "nats": "nats/token ± SE", "kind": "kind"})
    lines.append(f"Difference: {with_error(difference, '+.4g')} nats/token (paired)")
    if quality.get("kl"):
        lines.append(f"KL from the dense model: {with_error(quality['kl'])} nats/token")
    lines.append(texts_line(quality["texts"]))
    return [*lines, *([f"Pruned text: {quality['pruned']['text']}"] if quality["pruned"]["text"] is not None else [])]


def export_lines(report: Any) -> list[str]:
    """Return the export's folder and how to load it."""
    verified = "verified in a fresh process" if report.verification else "not verified"
    return [f"{report.folder}: {format_bytes(report.bytes)}, {verified}.", "", report.code.rstrip()]


def gguf_lines(report: Any) -> list[str]:
    """Return the file, what is in it, and how far its weights are from the model's."""
    lines = [
        f"{report.file}: {format_bytes(report.bytes)}, architecture {report.architecture}, {report.precision}.",
        f"{report.tensors} tensors read back; the largest error is {report.largest_error:.2g} of its group's largest "
        "weight.",
    ]
    if report.tokenizer == "none":
        lines.append("llama.cpp knows no tokenizer of this kind: the file takes and gives token ids only.")
    return lines


def decision_lines(report: dict[str, Any]) -> list[str]:
    """Return what a progressive pruning tried and kept, layer by layer; nothing for another pruning."""
    if "decisions" not in report:
        return []
    rows = [
        {
            "layer": one["layer"],
            "tried": ", ".join(f"{sparsity:.0%} ({loss:+.1%})" for sparsity, loss in one["tried"]),
            "kept": f"{one['sparsity']:.0%}",
            "loss": f"{one['loss']:+.1%} of {one['allowed']:.1%}",
        }
        for one in report["decisions"]
    ]
    named = {"layer": "layer", "tried": "tried (loss after it)", "kept": "kept", "loss": "loss so far"}
    return [*table(rows, named), ""]


def search_lines(report: dict[str, Any]) -> list[str]:
    """Return the measured curve of a search and the shape it chose; nothing for another pruning."""
    if "search" not in report:
        return []
    chosen = report["search"]["chosen"]
    rows = [
        {unit: f"{one[unit]:.0%}" if one[unit] else "" for unit in ("layers", "heads", "channels")}
        | {"speedup": cell(one["speedup"]), "bytes": _percent(one["bytes"]), "drop": _percent(one["drop"], "+")}
        | {"chosen": "<-" if one == chosen else ""}
        for one in report["search"]["tried"]
    ]
    named = {"layers": "layers", "heads": "heads", "channels": "channels", "speedup": "x as fast", "bytes": "bytes"}
    return [*table(rows, named | {"drop": "loss", "chosen": ""}), ""]


def _percent(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.1%}"
