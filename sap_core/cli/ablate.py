"""``sap ablate``: block sinks, or leave heads out, and measure what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from ..specs import AblateHeadsSpec, AblateSinksSpec
from ..texts.wording import texts_line, with_error
from . import options as opt
from .console import cell, emit, table, work

SHOWN_HEADS = 12
Out = Annotated[str | None, typer.Option(help="A new folder, or one to go on with.", show_default="among the runs")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    group = typer.Typer(help="Block sinks, or leave heads out, and measure what it costs.", no_args_is_help=True)
    group.command()(sinks)
    group.command()(heads)
    app.add_typer(group, name="ablate")


@opt.from_specs(AblateSinksSpec)
def sinks(fields: dict[str, Any], out: Out = None, as_json: opt.Json = False) -> None:
    """Block the sinks of every head, and other positions as controls: loss, KL, task scores and texts.

    The same command with --out goes on where an earlier one was stopped.
    """
    from ..interventions.sinks import ablate_sinks

    _measure(AblateSinksSpec.build(**fields), out, ablate_sinks, sink_lines, as_json)


@opt.from_specs(AblateHeadsSpec)
def heads(fields: dict[str, Any], out: Out = None, as_json: opt.Json = False) -> None:
    """Leave out every head in turn: the damage, and which ranking of heads would have been best.

    `sap prune --method measured --run RUN` follows the result. The same command with --out goes on where an earlier one
    was stopped.
    """
    from ..interventions.heads import ablate_heads

    _measure(AblateHeadsSpec.build(**fields), out, ablate_heads, head_lines, as_json)


def _measure(
    spec: Any, out: str | None, measure: Callable[..., Any], show: Callable[[Any], Iterator[str]], as_json: bool
) -> None:
    from ..runs.paths import new_run_path

    place = out if out is not None else str(new_run_path(spec.kind))
    with work("ablate", lambda: f"what is measured is kept; the same command goes on, with --out {place}") as progress:
        run = measure(spec.model, spec=spec, out=place, progress=progress)
    document = {"run": run.id, "path": str(run.path)} | run.result
    emit(document, as_json, lambda: [*show(document), f"Run: {run.path}"])


def sink_lines(document: dict[str, Any]) -> Iterator[str]:
    """Yield a table with a row for each condition, and one for the parts of the generation."""
    yield f"{document['model']}: {with_error(document['intact']['likelihood'])} nats/token as it is; blocked:"
    yield ""
    rows = [_row(one) for one in document["conditions"] if one["head"] is None]
    yield from table(rows, {name: name for name in rows[0]})
    single = [one for one in document["conditions"] if one["head"] is not None and one["kind"] == "sinks"]
    if single:
        yield ""
        worst = sorted(single, key=lambda one: -one["difference"]["nats_per_token"])[:10]
        rows = [{"head": f"{one['head'][0]}.{one['head'][1]}"} | _row(one) for one in worst]
        yield from table(rows, {name: name for name in rows[0]})
    if document["parts"]:
        yield ""
        rows = [
            {"blocked": one["kind"], "part": f"{one['part'][0]:.0%} to {one['part'][1]:.0%}"}
            | {"same tokens": _share(one["agreement"])}
            for one in document["parts"]
        ]
        yield from table(rows, {name: name for name in rows[0]})
    yield texts_line(document["texts"])


def head_lines(document: dict[str, Any]) -> Iterator[str]:
    """Yield the heads by damage, the agreement of each score with it, and the curves."""
    yield f"{document['model']}: {with_error(document['intact'])} nats/token with all heads; without:"
    yield ""
    ranked = sorted(document["heads"], key=lambda one: -one["damage"]["nats_per_token"])
    shown = ranked if len(ranked) <= SHOWN_HEADS else [*ranked[: SHOWN_HEADS // 2], *ranked[-SHOWN_HEADS // 2 :]]
    rows = [
        {"head": f"{one['layer']}.{one['head']}", "nats/token": with_error(one["damage"], "+.4g")}
        | {"instability": one["scores"]["instability"]}
        for one in shown
    ]
    yield from table(rows, {name: name for name in rows[0]})
    if len(shown) < len(ranked):
        yield f"The most and the least harmful of {len(ranked)} heads; --json has all."
    yield ""
    rows = [
        {
            "score": one["title"],
            "Spearman with damage": _interval(one, "spearman"),
            "Kendall": _interval(one, "kendall"),
        }
        for one in document["agreement"]
    ]
    yield from table(rows, {name: name for name in rows[0]})
    fit = document["fit"]
    if fit["weights"]:
        weights = ", ".join(f"{name}={value:.2g}" for name, value in fit["weights"].items())
        yield f"Weights of the instability fitted to the damage: {weights}."
    yield f"On other heads and texts they reach {_interval(fit['fitted'], 'spearman')}, equal weights " + (
        f"{_interval(fit['equal'], 'spearman')}; the damage itself, measured twice, {fit['halves']:+.2f}."
    )
    if document["greedy"]:
        yield ""
        rows = [
            {"greedy": number + 1, "head": f"{one['layer']}.{one['head']}"}
            | {"nats/token": with_error(one["difference"], "+.4g")}
            for number, one in enumerate(document["greedy"])
        ]
        yield from table(rows, {name: name for name in rows[0]})
    if document["curves"]:
        yield ""
        rows = [
            {"heads left out, by": one["ranking"]}
            | {str(point["heads"]): f"{point['difference']['nats_per_token']:+.4g}" for point in one["points"]}
            for one in document["curves"]
        ]
        yield from table(rows, {name: name for name in rows[0]})
    yield texts_line(document["texts"])


def _interval(found: dict[str, Any], name: str) -> str:
    if found[name] is None:
        return "-"
    return f"{found[name]:+.2f} ({found[f'{name}_low']:+.2f} to {found[f'{name}_high']:+.2f})"


def _row(one: dict[str, Any]) -> dict[str, Any]:
    row = {
        "blocked": one["kind"],
        "sinks": one["top"],
        "positions": one["positions"],
        "attention": f"{one['mass']:.1%}",
        "nats/token": f"{with_error(one['difference'], '+.4g')}",
        "KL": cell(one["kl"]["nats_per_token"]),
    }
    if "agreement" in one:
        row["same tokens"] = _share(one["agreement"])
    for task, score in (one.get("tasks") or {}).items():
        change = score["difference"]
        row[task] = f"{score['score']:.0%} ({change['score']:+.0%}, {change['low']:+.0%} to {change['high']:+.0%})"
    return row


def _share(found: dict[str, Any]) -> str:
    if found["low"] is None:
        return f"{found['same_tokens']:.1%}"
    return f"{found['same_tokens']:.1%}, {found['low']:.1%} to {found['high']:.1%}"
