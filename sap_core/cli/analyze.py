"""Commands that read finished runs: ``sap sinks``, ``sap heads``, ``sap compare``. None of them needs a model."""

from __future__ import annotations

from typing import Annotated

import typer

from ..choices.sink_rules import sink_rule
from . import options as opt
from .console import cell, emit, table

SHOWN_HEADS = 10


def register(app: typer.Typer) -> None:
    app.command()(sinks)
    app.command()(heads)
    app.command()(compare)


def sinks(
    run: opt.Run,
    rule: opt.Rule = "column_sum",
    threshold: opt.Threshold = None,
    sample: Annotated[int, typer.Option(help="Which prompt of the run, from 0.")] = 0,
    as_json: opt.Json = False,
) -> None:
    """Where the sinks of a run are, which tokens they are, and how they move."""
    from ..runs.reading import open_run
    from ..sinks.summary import sink_summary

    asked = sink_rule(rule, threshold)
    summary = sink_summary(open_run(run), asked, sample=sample)

    def show():
        rule_ = summary["rule"]
        yield f"{summary['model']}, rule {rule_['title']} (threshold {rule_['threshold']:g} {rule_['unit']})"
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
    rule: opt.Rule = "column_sum",
    threshold: opt.Threshold = None,
    as_json: opt.Json = False,
) -> None:
    """The heads of a run, the most unstable first."""
    from ..runs.reading import open_run
    from ..sinks.instability import rank_heads

    asked = sink_rule(rule, threshold)
    ranking = rank_heads(open_run(run), rule=asked)
    rows = ranking.to_dict(orient="records")
    rows = [{"rank": row["rank"], **row} for row in rows][:top]
    names = {name: name.replace("_", " ") for name in rows[0]} if rows else {}
    emit(rows, as_json, lambda: table(rows[: top or SHOWN_HEADS], names))


def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN RUN...", help="Two or more runs; the first is the reference.")
    ],
    points: Annotated[int, typer.Option(min=2, help="Points of the common time axis.")] = 50,
    rule: opt.Rule = "column_sum",
    threshold: opt.Threshold = None,
    as_json: opt.Json = False,
) -> None:
    """Two or more runs on one normalised time axis, with the numbers that tell them apart."""
    from ..runs.reading import open_run
    from ..sinks.claims import answer_claims, answers_table
    from ..sinks.compare import LETTERS, compare_runs

    asked = sink_rule(rule, threshold)
    found = compare_runs(*(open_run(run) for run in runs), points=points, rule=asked)
    letters = LETTERS[: len(runs)]
    rows = [
        {"metric": row["title"], "unit": row["unit"], "difference": row["difference"]}
        | {letter: f"{cell(row[letter])} ± {cell(row[f'{letter}_sd'])}" for letter in letters}
        for row in found.table.to_dict(orient="records")
    ]
    answers = answers_table(found, answer_claims(found))

    def show():
        yield from (f"{letter}: {name}" for letter, name in zip(letters, found.names, strict=True))
        yield ""
        means = {letter: f"{letter} ± SD" for letter in letters}
        yield from table(rows, {"metric": "metric", **means, "difference": "b - a", "unit": "unit"})
        yield ""
        yield from table(answers, {name: name for name in answers[0]})

    emit({"runs": runs, **found.to_dict(), "claims": answers}, as_json, show)
