"""``sap figure`` and ``sap report``: the pages' figures as files that name their runs and settings. No model needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..choices.sink_rules import SinkRule, sink_rule
from ..errors import InvalidInput, UnknownOption
from . import options as opt
from .console import emit, warn_partial

KINDS = ("heatmap", "kinds", "layers", "heads", "difference")
Runs = Annotated[list[str], typer.Argument(metavar="RUN...", help="Folders of runs, or their ids.", show_default=False)]
Layer = Annotated[int | None, typer.Option(min=0, help="From 0.", show_default="mean over layers")]
Head = Annotated[int | None, typer.Option(min=0, help="From 0.", show_default="mean over heads")]
Sample = Annotated[int, typer.Option(min=0, help="Which prompt of the run, from 0.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    app.command()(figure)
    app.command()(report)


def figure(
    runs: Runs,
    out: Annotated[str, typer.Option(help="File ending in .html, .png, .svg, .csv or .parquet.", show_default=False)],
    kind: Annotated[str, typer.Option(help=f"{', '.join(KINDS)} (difference takes two runs).")] = "heatmap",
    layer: Layer = None,
    head: Head = None,
    sample: Sample = 0,
    step: Annotated[int | None, typer.Option(min=0, help="Draw a cursor there.", show_default=False)] = None,
    rule: opt.Rule = "column_sum",
    threshold: opt.Threshold = None,
    unfinished: opt.Unfinished = False,
    as_json: opt.Json = False,
) -> None:
    """Write a figure of a run, or its data, with run, settings and version inside."""
    from ..plots.figure_files import figure_output, provenance, save_figure
    from ..runs.reading import open_run

    asked = sink_rule(rule, threshold)
    if kind not in KINDS:
        raise UnknownOption("kind of figure", kind, KINDS)
    wanted = 2 if kind == "difference" else 1
    if len(runs) != wanted:
        raise InvalidInput(f"{len(runs)} runs were given; a figure of kind {kind} takes {wanted}.")
    with figure_output(out) as output:
        opened = [open_run(run, unfinished=unfinished) for run in runs]
        warn_partial(opened)
        drawn, data, title = _drawn(kind, opened, layer, head, sample, step, asked)
        view = {"layer": layer, "head": head, "sample": sample or None, "step": step}
        view |= {"rule": rule, "threshold": threshold}
        about = provenance(title, opened, {key: value for key, value in view.items() if value is not None})
        save_figure(drawn, output, about, data)
    path = Path(out).expanduser()
    emit({"file": str(path), **about}, as_json, lambda: [str(path)])


def report(
    runs: Runs,
    out: Annotated[str, typer.Option(help="HTML file to write.", show_default=False)],
    layer: Layer = None,
    head: Head = None,
    sample: Sample = 0,
    rule: opt.Rule = "column_sum",
    threshold: opt.Threshold = None,
    unfinished: opt.Unfinished = False,
    as_json: opt.Json = False,
) -> None:
    """Write the report of a run, or of a comparison of several, as one HTML file that needs nothing else."""
    from ..plots.figure_files import write_output
    from ..plots.run_report import report as make
    from ..runs.reading import open_run
    from ..storage.output import Output

    asked = sink_rule(rule, threshold)
    if len(runs) > 1 and (layer, head, sample) != (None, None, 0):
        raise InvalidInput("Layer, head and sample choose a part of one run; a comparison is over all of them.")
    with Output(out, folder=False, replace=True) as output:
        opened = [open_run(run, unfinished=unfinished) for run in runs]
        warn_partial(opened)
        page = make(*opened, rule=asked, sample=sample, layer=layer, head=head)
        write_output(output, page.encode())
    path = Path(out).expanduser()
    emit({"file": str(path), "runs": runs}, as_json, lambda: [str(path)])


def _drawn(
    kind: str, opened: list[Any], layer: int | None, head: int | None, sample: int, step: int | None, rule: SinkRule
) -> tuple[Any, Any, str]:
    """Return the figure, the data behind it (None: what is drawn), and its title."""
    from ..plots.compare import difference_heatmap
    from ..plots.heads import head_grid
    from ..plots.heatmap import trajectory_heatmap
    from ..plots.multiples import layer_multiples
    from ..plots.run_report import checked_view
    from ..plots.token_types import type_heatmap
    from ..sinks.compare import compare_runs, rebin
    from ..sinks.instability import rank_heads

    run = opened[0]
    if kind == "difference":
        found = compare_runs(*opened, rule=rule)
        size = found.difference.shape[1]
        first, second = (size * rebin(received, size) for received in found.received)
        return difference_heatmap(first, second), None, f"Attention received in {found.names[1]} relative to {run.name}"
    if kind == "heads":
        ranking = rank_heads(run, rule=rule)
        return head_grid(ranking), ranking, f"Instability of the heads, {run.name}"
    view = checked_view(run, sample, layer, head, rule)
    if kind == "layers":
        return layer_multiples(run.trajectories[sample], head=head), None, f"Attention received by layer, {run.name}"
    draw = type_heatmap if kind == "kinds" else trajectory_heatmap
    return draw(view, step=step), view, f"Attention received, {view.label}, {run.name}"
