"""One function for every figure of the studio: the plotly figure that a page draws of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .choices.figure_kinds import FIGURE_KINDS
from .choices.sink_rules import DEFAULT_RULE, SinkRule, sink_rule
from .errors import InvalidInput, RunProblem, UnknownOption
from .plots.view import View
from .sinks.compare import CURVES, LETTERS, MOST

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Asked:
    """What a figure shows of its runs; see `figure`."""

    layer: int | None = None
    head: int | None = None
    sample: int = 0
    step: int | None = None
    rule: SinkRule = DEFAULT_RULE
    fit: bool = False


@dataclass(frozen=True)
class Drawn:
    """A figure, the data behind it (None: what is drawn), and its title."""

    figure: go.Figure
    title: str
    data: View | pd.DataFrame | None = None


@dataclass(frozen=True)
class FigureKind:
    """A kind of figure: the function that draws it, of which kind of run, and of how many.

    ``uses`` are the fields of `Asked` that it reads; another one is an error, not ignored.
    """

    draw: Callable[[list[Any], Asked], Drawn]
    uses: tuple[str, ...] = ("rule",)
    of: str = "capture"
    runs: tuple[int, int] = (1, 1)


def figure(
    *runs: Any,
    kind: str = "heatmap",
    layer: int | None = None,
    head: int | None = None,
    sample: int = 0,
    step: int | None = None,
    rule: SinkRule | str = DEFAULT_RULE,
    threshold: float | None = None,
    fit: bool = False,
) -> go.Figure:
    """Return a figure of a run, or of a comparison of several, as the studio draws it.

    Args:
        runs: Opened runs (`sap_core.open_run`), as many as the kind takes.
        kind: One of `sap_core.choices.figure_kinds.FIGURE_KINDS`.
        layer: By the model's number; None means the mean over layers.
        head: None means the mean over heads.
        sample: Prompt of the run, from 0.
        step: Step to mark, or the step of an attention map.
        rule: What a sink is, see `sap_core.find_sinks`.
        threshold: Threshold of a rule given by name; None takes its default.
        fit: The colours span the values in view instead of the quantity's own range, and the legend says so.

    Raises:
        UnknownOption, InvalidInput: an unknown kind or rule; too few or too many runs; a layer, head, sample or step
            that the run does not have, or that this kind does not use.
        RunProblem: a run without what is drawn.
    """
    asked = Asked(layer, head, sample, step, sink_rule(rule, threshold), fit)
    return draw_figure(kind, list(runs), asked).figure


def draw_figure(kind: str, runs: list[Any], asked: Asked) -> Drawn:
    """Return a figure with its data and title; see `figure`."""
    row = checked_kind(kind, len(runs), asked)
    for run in runs:
        found = getattr(run, "kind", row.of)
        if found != row.of:
            raise RunProblem(f"Run {run.id} is of kind {found}; a figure of kind {kind} takes a run of kind {row.of}.")
    return row.draw(runs, asked)


def checked_kind(kind: str, runs: int, asked: Asked) -> FigureKind:
    """Return the row of a kind of figure, after checking what can be checked without opening a run.

    Raises:
        UnknownOption, InvalidInput: as `figure`.
    """
    if kind not in FIGURE_KINDS:
        raise UnknownOption("kind of figure", kind, FIGURE_KINDS)
    row = DRAWN[kind]
    least, most = row.runs
    if not least <= runs <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        given = f"{runs} {'run was' if runs == 1 else 'runs were'} given"
        raise InvalidInput(f"{given}; a figure of kind {kind} takes {wanted}.")
    for name, default in vars(Asked()).items():
        if getattr(asked, name) != default and name not in row.uses:
            raise InvalidInput(f"{name} is given, but a figure of kind {kind} does not use it.")
    return row


def _view(run: Any, asked: Asked, with_sink_rate: bool = False) -> View:
    from .plots.run_report import checked_view

    view = checked_view(run, asked.sample, asked.layer, asked.head, asked.rule, with_sink_rate=with_sink_rate)
    if asked.step is not None and not 0 <= asked.step < view.steps:
        raise InvalidInput(f"step is {asked.step}; the run has steps 0 to {view.steps - 1}.")
    return view


def _heatmap(runs: list[Any], asked: Asked) -> Drawn:
    from .plots.heatmap import trajectory_heatmap

    view = _view(runs[0], asked)
    drawn = trajectory_heatmap(view, step=asked.step, fit=asked.fit)
    return Drawn(drawn, f"Attention received, {view.label}, {runs[0].name}", view)


def _sink_rate(runs: list[Any], asked: Asked) -> Drawn:
    from .plots.heatmap import trajectory_heatmap
    from .plots.quantity import SINK_RATE

    view = _view(runs[0], asked, with_sink_rate=True)
    drawn = trajectory_heatmap(view, step=asked.step, fit=asked.fit, quantity=SINK_RATE)
    return Drawn(drawn, f"Sink rate, {view.label}, {runs[0].name}", view)


def _token_types(runs: list[Any], asked: Asked) -> Drawn:
    from .plots.token_types import type_heatmap

    view = _view(runs[0], asked)
    drawn = type_heatmap(view, step=asked.step, fit=asked.fit)
    return Drawn(drawn, f"Attention received by kind of token, {view.label}, {runs[0].name}", view)


def _layers(quantity: str) -> Callable[[list[Any], Asked], Drawn]:
    def draw(runs: list[Any], asked: Asked) -> Drawn:
        from .plots.multiples import layer_multiples
        from .plots.quantity import QUANTITIES

        _view(runs[0], asked)  # checks sample and head
        row = QUANTITIES[quantity]
        trajectory = runs[0].trajectories[asked.sample]
        drawn = layer_multiples(trajectory, head=asked.head, quantity=row, fit=asked.fit, rule=asked.rule)
        return Drawn(drawn, f"{row.title.capitalize()} by layer, {runs[0].name}")

    return draw


def _heads(runs: list[Any], asked: Asked) -> Drawn:
    from .plots.heads import head_grid
    from .sinks.instability import rank_heads

    ranking = rank_heads(runs[0], rule=asked.rule)
    return Drawn(head_grid(ranking, fit=asked.fit), f"Instability of the heads, {runs[0].name}", ranking)


def _components(runs: list[Any], asked: Asked) -> Drawn:
    from .plots.heads import component_bars
    from .sinks.instability import rank_heads

    if asked.layer is None or asked.head is None:
        raise InvalidInput("A figure of kind components is of one head; give layer and head.")
    _view(runs[0], asked)
    ranking = rank_heads(runs[0], rule=asked.rule)
    row = ranking[(ranking["layer"] == asked.layer) & (ranking["head"] == asked.head)]
    title = f"Instability of layer {asked.layer}, head {asked.head}, {runs[0].name}"
    return Drawn(component_bars(row.iloc[0]), title, row)


def _dominance(runs: list[Any], asked: Asked) -> Drawn:
    from .plots.lines import frequency_bars
    from .plots.view import printable
    from .sinks.motion import dominance_frequency

    view = _view(runs[0], asked)
    last = [printable(view.piece(view.steps - 1, place)) for place in range(view.positions)]
    drawn = frequency_bars(dominance_frequency(view.path, view.positions), last)
    return Drawn(drawn, f"Dominant positions, {view.label}, {runs[0].name}")


def _autocorrelation(runs: list[Any], asked: Asked) -> Drawn:
    from .plots.lines import autocorrelation_lines

    view = _view(runs[0], asked)
    title = f"Autocorrelation of attention received, {view.label}, {runs[0].name}"
    return Drawn(autocorrelation_lines(view.share), title)


def _drift(runs: list[Any], asked: Asked) -> Drawn:
    from .plots.lines import drift_lines

    view = _view(runs[0], asked)
    return Drawn(drift_lines(view.share), f"Drift of attention received, {view.label}, {runs[0].name}")


def _attention_map(runs: list[Any], asked: Asked) -> Drawn:
    from .capturing.attention_map import attention_map
    from .plots.attention import attention_figure
    from .plots.view import printable

    if asked.layer is None or asked.step is None:
        raise InvalidInput("A figure of kind attention_map is of one layer and step; give layer and step.")
    view = _view(runs[0], asked)
    found = attention_map(runs[0].spec["model"], runs[0], asked.step, asked.layer, asked.head, asked.sample)
    words = [printable(view.piece(max(asked.step - 1, 0), place)) for place in range(view.positions)]
    return Drawn(attention_figure(found, words), f"Attention map at step {asked.step}, {view.label}, {runs[0].name}")


def _difference(runs: list[Any], asked: Asked) -> Drawn:
    from .plots.compare import difference_heatmap
    from .sinks.compare import compare_runs

    found = compare_runs(*runs, rule=asked.rule)
    title = f"Attention received in {found.names[1]} relative to {found.names[0]}"
    return Drawn(difference_heatmap(*found.aligned(1)), title)


def _claims(runs: list[Any], asked: Asked) -> Drawn:
    import pandas as pd

    from .plots.forest import claims_forest
    from .sinks.claims import answer_claims, answers_table
    from .sinks.compare import compare_runs

    answers = answer_claims(compare_runs(*runs, rule=asked.rule))
    if not answers:
        raise InvalidInput("The claims are about diffusion models, and all of these runs are autoregressive.")
    table = pd.DataFrame(answers_table(answers))
    return Drawn(claims_forest(answers), "Claims on the sinks of diffusion models", table)


def _curve(name: str) -> Callable[[list[Any], Asked], Drawn]:
    def draw(runs: list[Any], asked: Asked) -> Drawn:
        from .plots.compare import comparison_curve
        from .sinks.compare import compare_runs

        found = compare_runs(*runs, rule=asked.rule)
        named = ", ".join(f"{letter.upper()} {run}" for letter, run in zip(LETTERS, found.names, strict=False))
        return Drawn(comparison_curve(found, name), f"{CURVES[name][0]}: {named}")

    return draw


def _plan(part: str) -> Callable[[list[Any], Asked], Drawn]:
    def draw(runs: list[Any], asked: Asked) -> Drawn:
        from .models.inspection import inspect_model
        from .plots.plan import plan_bars, plan_matrices, removed_heads
        from .pruning.planning.plan import PruningPlan

        run = runs[0]
        if "plan" not in run.result:
            raise RunProblem(f"Run {run.id} holds no plan: it did not finish.")
        plan = PruningPlan.from_dict(run.result["plan"])
        layers = plan.per_layer()
        if part == "weights":
            drawn = plan_bars(*(layers[name].tolist() for name in ("layer", "weights", "zeros")))
            return Drawn(drawn, f"Weights kept and removed per layer, {run.name}", layers)
        if part == "matrices":
            drawn = plan_matrices(layers["layer"].tolist(), *plan.by_kind())
            return Drawn(drawn, f"Share removed per matrix, {run.name}")
        if not plan.heads:
            raise RunProblem(f"Run {run.id} removed no whole heads (method {plan.method}).")
        info = inspect_model(run.spec["model"])
        return Drawn(removed_heads(info.layers, info.heads, plan.heads), f"Heads kept and removed, {run.name}")

    return draw


def _intervention(kind: str) -> Callable[[list[Any], Asked], Drawn]:
    def draw(runs: list[Any], asked: Asked) -> Drawn:
        from .plots import interventions as plots

        run, title = runs[0], FIGURE_KINDS[kind].partition(", of `")[0].capitalize()
        result = run.result
        if "intact" not in result:
            raise RunProblem(f"Run {run.id} is {run.state}; go on with it to the end.")
        needs = {
            "blocking_levels": (any(one["levels"] for one in result.get("conditions", ())), "levels of masking"),
            "blocking_parts": (result.get("parts"), "parts of the generation (--parts)"),
            "blocking_heads": (any(one["head"] for one in result.get("conditions", ())), "single heads (--each-head)"),
            "rankings": (result.get("curves"), "curves (--curves)"),
        }
        there, what = needs.get(kind, (True, ""))
        if not there:
            raise RunProblem(f"Run {run.id} was measured without {what}.")
        if kind == "damage":
            drawn = plots.damage_scatter(result["heads"], "instability", "Instability")
        elif kind == "blocking_levels":
            drawn = plots.level_curves(result, min(one["top"] for one in result["conditions"] if one["top"]))
        else:
            drawn = {
                "blocking": plots.blocking_curves,
                "blocking_parts": plots.part_bars,
                "blocking_heads": plots.single_heads,
                "rankings": plots.ranking_curves,
            }[kind](result)
        return Drawn(drawn, f"{title}, {run.name}")

    return draw


_MAP = ("layer", "head", "sample", "step", "rule", "fit")
_MOTION = ("layer", "head", "sample")
_PAIR = (2, MOST)
DRAWN: dict[str, FigureKind] = {
    "heatmap": FigureKind(_heatmap, _MAP),
    "sink_rate": FigureKind(_sink_rate, _MAP),
    "kinds": FigureKind(_token_types, _MAP),
    "layers": FigureKind(_layers("attention"), ("head", "sample", "fit")),
    "layer_rates": FigureKind(_layers("sink_rate"), ("head", "sample", "rule", "fit")),
    "heads": FigureKind(_heads, ("rule", "fit")),
    "components": FigureKind(_components, ("layer", "head", "rule")),
    "dominance": FigureKind(_dominance, _MOTION),
    "autocorrelation": FigureKind(_autocorrelation, _MOTION),
    "drift": FigureKind(_drift, _MOTION),
    "attention_map": FigureKind(_attention_map, ("layer", "head", "sample", "step")),
    "difference": FigureKind(_difference, runs=(2, 2)),
    "claims": FigureKind(_claims, runs=_PAIR),
    **{name: FigureKind(_curve(name), runs=_PAIR) for name in CURVES},
    "plan": FigureKind(_plan("weights"), (), "prune"),
    "plan_matrices": FigureKind(_plan("matrices"), (), "prune"),
    "plan_heads": FigureKind(_plan("heads"), (), "prune"),
    **{
        name: FigureKind(_intervention(name), (), "ablate_sinks")
        for name in FIGURE_KINDS
        if name.startswith("blocking")
    },
    **{name: FigureKind(_intervention(name), (), "ablate_heads") for name in ("damage", "rankings")},
}
assert list(DRAWN) == list(FIGURE_KINDS)
