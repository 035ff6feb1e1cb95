"""Commands that read finished runs: ``sap sinks``, ``sap heads``, ``sap compare``. None of them needs a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from ..choices.sink_rules import sink_rule
from ..errors import InvalidInput
from . import options as opt
from .console import cell, emit, table, told_partial, warn_partial

SHOWN_HEADS = 10


def register(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    app.command()(sinks)
    app.command()(heads)
    app.command()(compare)


def sinks(
    run: opt.Run,
    rule: opt.Rule = "column_sum",
    threshold: opt.Threshold = None,
    sample: Annotated[int, typer.Option(help="Which prompt of the run, from 0.")] = 0,
    unfinished: opt.Unfinished = False,
    as_json: opt.Json = False,
) -> None:
    """Show where the sinks of a run are, which tokens they are, and how they move."""
    from ..runs.reading import open_run
    from ..sinks.summary import sink_summary

    asked = sink_rule(rule, threshold)
    opened = open_run(run, unfinished=unfinished)
    summary = sink_summary(opened, asked, sample=sample)
    if opened.partial:
        summary |= {"partial": opened.partial}

    def show() -> Iterator[str]:
        rule_ = summary["rule"]
        yield f"{summary['model']}, rule {rule_['title']} (threshold {rule_['threshold']:g} {rule_['unit']})"
        yield from told_partial([opened])
        yield ""
        yield from table(
            list(summary["metrics"].values()),
            {"title": "metric", "mean": "mean", "sd_heads": "SD over heads", "unit": "unit"},
        )
        yield ""
        yield "Dominant position per step: " + " ".join(map(str, summary["path"]))
        if summary["tokens"]:
            yield ""
            yield from table(summary["tokens"][:10], {"piece": "sink token", "share": "share of sinks"})

    emit(summary, as_json, show)


def heads(
    run: opt.Run,
    top: Annotated[
        int | None, typer.Option(min=1, help="Only so many.", show_default=f"{SHOWN_HEADS}; with --json all")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=NUMBER,...",
            help="Weights of the score's components, such as switch_rate=2,overlap=1; others count 0.",
            show_default="all equal",
        ),
    ] = None,
    rule: opt.Rule = "column_sum",
    threshold: opt.Threshold = None,
    unfinished: opt.Unfinished = False,
    as_json: opt.Json = False,
) -> None:
    """List the heads of a run, the most unstable first."""
    from ..runs.reading import open_run
    from ..sinks.instability import rank_heads

    asked = sink_rule(rule, threshold)
    opened = open_run(run, unfinished=unfinished)
    ranking = rank_heads(opened, rule=asked, weights=_weights(weights))
    rows = ranking.to_dict(orient="records")
    rows = [{"rank": record["rank"], **record} for record in rows][:top]
    names = {name: name.replace("_", " ") for name in rows[0]} if rows else {}
    if as_json:
        warn_partial([opened])  # the document is the list of heads
    emit(rows, as_json, lambda: [*told_partial([opened]), *table(rows[: top or SHOWN_HEADS], names)])


def _weights(text: str | None) -> dict[str, float] | None:
    """Return the weights of "NAME=NUMBER,..."; None without any."""
    if text is None:
        return None
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        name = name.strip()
        try:
            value = float(number)
        except ValueError:
            raise InvalidInput(f"weights hold {part.strip()!r}; expected NAME=NUMBER, such as switch_rate=2.") from None
        if name in weights:
            raise InvalidInput(f"weights name {name} twice; give each component once.")
        weights[name] = value
    return weights


def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN RUN...", help="Two or more runs; the first is the reference.")
    ],
    points: Annotated[int, typer.Option(min=2, help="Points of the common time axis.")] = 50,
    rule: opt.Rule = "column_sum",
    threshold: opt.Threshold = None,
    unfinished: opt.Unfinished = False,
    as_json: opt.Json = False,
) -> None:
    """Compare two or more runs on one normalised time axis."""
    from ..runs.reading import open_run
    from ..sinks.claims import answer_claims, answers_table
    from ..sinks.compare import LETTERS, compare_runs

    asked = sink_rule(rule, threshold)
    opened = [open_run(run, unfinished=unfinished) for run in runs]
    found = compare_runs(*opened, points=points, rule=asked)
    letters = LETTERS[: len(runs)]
    rows = [
        {"metric": record["title"], "unit": record["unit"], "difference": record["difference"]}
        | {letter: f"{cell(record[letter])} ± {cell(record[f'{letter}_sd'])}" for letter in letters}
        for record in found.table.to_dict(orient="records")
    ]
    answers = answers_table(answer_claims(found))

    def show() -> Iterator[str]:
        yield from (f"{letter}: {name}" for letter, name in zip(letters, found.names, strict=True))
        yield from told_partial(opened)
        yield ""
        means = {letter: f"{letter} ± SD" for letter in letters}
        yield from table(rows, {"metric": "metric", **means, "difference": "b - a", "unit": "unit"})
        if answers:  # none is said of autoregressive models
            yield ""
            yield from table(answers, {name: name for name in answers[0]})

    partial = {run.id: run.partial for run in opened if run.partial}
    emit(
        {"runs": runs, **found.to_dict(), "claims": answers} | ({"partial": partial} if partial else {}), as_json, show
    )
