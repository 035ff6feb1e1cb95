"""Commands that read finished runs: ``sap sinks``, ``sap heads``, ``sap compare``. None of them needs a model."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options as opt
from .screen import cell, emit, table

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
    from ..runs import open_run
    from ..sinks.summary import sink_summary
    from ..specs import check_rule

    check_rule(rule)
    summary = sink_summary(open_run(run), rule, threshold=threshold, sample=sample)

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
    from ..runs import open_run
    from ..sinks.instability import rank_heads
    from ..specs import check_rule

    check_rule(rule)
    ranking = rank_heads(open_run(run), rule=rule, threshold=threshold)
    rows = ranking.to_dict(orient="records")
    rows = [{"rank": row["rank"], **row} for row in rows][:top]
    names = {name: name.replace("_", " ") for name in rows[0]} if rows else {}
    emit(rows, as_json, lambda: table(rows[: top or SHOWN_HEADS], names))


def compare(
    run_a: Annotated[str, typer.Argument(metavar="RUN_A", help="The first run.", show_default=False)],
    run_b: Annotated[str, typer.Argument(metavar="RUN_B", help="The second run.", show_default=False)],
    points: Annotated[int, typer.Option(min=2, help="Points of the common time axis.")] = 50,
    rule: opt.Rule = "column_sum",
    threshold: opt.Threshold = None,
    as_json: opt.Json = False,
) -> None:
    """Two runs on one normalised time axis, with the numbers that tell them apart."""
    from ..runs import open_run
    from ..sinks.compare import compare_runs
    from ..specs import check_rule

    check_rule(rule)
    found = compare_runs(open_run(run_a), open_run(run_b), points=points, rule=rule, threshold=threshold)
    rows = [
        {
            "metric": row["title"],
            "a": f"{cell(row['a'])} ± {cell(row['a_sd'])}",
            "b": f"{cell(row['b'])} ± {cell(row['b_sd'])}",
            "difference": row["difference"],
            "unit": row["unit"],
        }
        for row in found.table.to_dict(orient="records")
    ]

    def show():
        yield f"a: {found.names[0]}"
        yield f"b: {found.names[1]}"
        yield ""
        columns = {"metric": "metric", "a": "a ± SD", "b": "b ± SD", "difference": "b - a", "unit": "unit"}
        yield from table(rows, columns)

    emit({"runs": [run_a, run_b], **found.to_dict()}, as_json, show)
