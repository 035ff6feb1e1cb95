"""``sap figure`` and ``sap report``: the pages' figures as files that name their runs and settings. No model needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..choices.figure_kinds import ANIMATION, FIGURE_KINDS
from ..choices.sink_rules import sink_rule
from ..errors import InvalidInput
from . import options as opt
from .console import emit, warn_partial

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
    out: Annotated[
        str,
        typer.Option(
            help="File ending in .html, .png, .svg, .csv or .parquet; .gif or .mp4 of an animation.", show_default=False
        ),
    ],
    kind: Annotated[str, typer.Option(help=f"{', '.join(FIGURE_KINDS)} or {ANIMATION}.")] = "heatmap",
    layer: Layer = None,
    head: Head = None,
    sample: Sample = 0,
    step: Annotated[int | None, typer.Option(min=0, help="Draw a cursor there.", show_default=False)] = None,
    rule: opt.Rule = "column_sum",
    threshold: opt.Threshold = None,
    fit: Annotated[bool, typer.Option("--fit", help="Colours span the values in view.")] = False,
    size: Annotated[str, typer.Option(help="screen, column, page or slide.")] = "screen",
    font_size: Annotated[float | None, typer.Option(help="In points.", show_default="the size's own")] = None,
    fps: Annotated[float | None, typer.Option(help="Steps a second of an animation.", show_default="8")] = None,
    unfinished: opt.Unfinished = False,
    as_json: opt.Json = False,
) -> None:
    """Write a figure of a run, or its data, with run, settings and version inside."""
    from ..figures import Asked, checked_kind, draw_figure
    from ..plots.animation import ANIMATIONS
    from ..plots.figure_files import FORMATS, figure_output, provenance, save_figure
    from ..plots.print_version import print_size
    from ..runs.reading import open_run

    asked = Asked(layer, head, sample, step, sink_rule(rule, threshold), fit)
    paper = print_size(size, font_size)
    animated = kind == ANIMATION
    if animated:
        _check_animation(len(runs), step, size, font_size)
    else:
        checked_kind(kind, len(runs), asked)
        if fps is not None:
            raise InvalidInput(f"fps is {fps:g}, but a figure of kind {kind} does not move; --kind {ANIMATION} does.")
    with figure_output(out, ANIMATIONS if animated else FORMATS) as output:
        opened = [open_run(run, unfinished=unfinished) for run in runs]
        warn_partial(opened)
        view = {"layer": layer, "head": head, "sample": sample or None, "step": step}
        view |= {"rule": rule, "threshold": threshold, "fit": fit or None}
        view = {key: value for key, value in view.items() if value is not None}
        if animated:
            about = _animate(opened[0], asked, view, output, 8 if fps is None else fps)
        else:
            drawn = draw_figure(kind, opened, asked)
            about = provenance(drawn.title, opened, view)
            save_figure(drawn.figure, output, about, drawn.data, paper)
    path = Path(out).expanduser()
    emit({"file": str(path), **about}, as_json, lambda: [str(path)])


def _check_animation(runs: int, step: int | None, size: str, font_size: float | None) -> None:
    if runs != 1:
        raise InvalidInput(f"{runs} runs were given; an animation takes 1.")
    for name, value, default in (("step", step, None), ("size", size, "screen"), ("font-size", font_size, None)):
        if value != default:
            raise InvalidInput(f"{name} is given, but an animation shows every step in 1280 x 720 and does not use it.")


def _animate(run: Any, asked: Any, view: dict[str, Any], output: Any, fps: float) -> dict[str, Any]:
    """Write the animation of a run and return its provenance."""
    from ..plots.animation import save_animation
    from ..plots.figure_files import provenance
    from ..plots.quantity import usual_quantity
    from ..plots.run_report import checked_view

    quantity = usual_quantity(asked.layer, asked.head)
    shown = checked_view(run, asked.sample, asked.layer, asked.head, asked.rule, with_sink_rate=True)
    about = provenance(f"{quantity.title.capitalize()}, {shown.label}, {run.name}", [run], view)
    save_animation(shown, output, about, quantity=quantity, fit=asked.fit, steps_per_second=fps)
    return about


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
