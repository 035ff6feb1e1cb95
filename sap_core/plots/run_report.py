"""The report of a run, or of a comparison, as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ..choices.sink_rules import DEFAULT_RULE, SinkRule, sink_rule
from ..errors import InvalidInput
from ..sinks.claims import answer_claims, answers_table
from ..sinks.compare import CURVES, LETTERS, compare_runs
from ..sinks.instability import rank_heads
from ..sinks.motion import METRICS
from ..sinks.summary import sink_summary
from ..trajectory.access import layer_index, trajectories_of
from .compare import comparison_curve, difference_heatmap
from .figure_files import provenance
from .forest import claims_forest
from .heads import head_grid
from .heatmap import trajectory_heatmap
from .html_page import Part, html_report
from .multiples import layer_multiples
from .view import View, make_view


def report(
    *runs: Any,
    rule: SinkRule | str = DEFAULT_RULE,
    threshold: float | None = None,
    sample: int = 0,
    layer: int | None = None,
    head: int | None = None,
) -> str:
    """Return the HTML of one run's report, or of a comparison of several.

    Args:
        runs: Opened runs (`sap_core.open_run`) that hold a trajectory.
        rule: What a sink is, see `sap_core.find_sinks`.
        threshold: Threshold of a rule given by name; None takes its default.
        sample: Prompt of the large figure, of a single run only.
        layer: Layer of the large figure, None for the mean; of a single run only.
        head: Head of the large figure, None for the mean; of a single run only.

    Raises:
        InvalidInput, UnknownOption, RunProblem: as `sink_summary`, `rank_heads` and `compare_runs`.
    """
    asked = sink_rule(rule, threshold)
    if len(runs) == 1:
        return run_report(runs[0], rule=asked, sample=sample, layer=layer, head=head)
    return comparison_report(runs, rule=asked)


def run_report(run: Any, *, rule: SinkRule, sample: int = 0, layer: int | None = None, head: int | None = None) -> str:
    """Return the report of one run: text, heatmap, layers, numbers with formulas, heads and ranking."""
    view = checked_view(run, sample, layer, head, rule)
    summary = sink_summary(run, rule, sample=sample)
    ranking = rank_heads(run, rule=rule)
    trajectory = run.trajectories[sample]
    numbers = pd.DataFrame(
        [
            {
                "quantity": record["title"],
                "mean over heads": record["mean"],
                "± over heads": record["sd_heads"],
                "unit": record["unit"],
                "formula": METRICS[name].formula,
            }
            for name, record in summary["metrics"].items()
        ]
    )
    tokens = pd.DataFrame(
        [{"token": record["piece"], "share of sinks": record["share"]} for record in summary["tokens"]]
    )
    said = f"sink rule: {rule.info.title}, threshold {rule.threshold:g} ({rule.info.unit})"
    parts: list[tuple[str, str, Part]] = [
        ("Text", "", run.text),
        ("Attention received", f"{view.label}; in multiples of an even share", trajectory_heatmap(view)),
        ("Every layer", "mean over heads, same scale", layer_multiples(trajectory)),
        ("How the sinks move", said, numbers),
        ("Which tokens become sinks", "share of all (step, layer, head, sink)", tokens),
        ("Instability of the heads", "0 steady, 1 unstable", head_grid(ranking)),
        ("Ranking", "the 20 most unstable", ranking.head(20)),
    ]
    shown = {"sample": sample, "layer": layer, "head": head, "rule": rule.name, "threshold": rule.threshold}
    return html_report(run.name, provenance(f"Report of {run.name}", [run], shown), parts)


def comparison_report(runs: Sequence[Any], *, rule: SinkRule) -> str:
    """Return the claims, every run's heatmap, differences, curves with intervals, and the table of metrics."""
    found = compare_runs(*runs, rule=rule)
    letters = [letter.upper() for letter in LETTERS[: len(runs)]]
    key = pd.DataFrame({"": letters, "run": found.names, "id": [run.id for run in runs]})
    parts: list[tuple[str, str, Part]] = [
        ("Runs", "A is the reference of every difference", key),
    ]
    for letter, run in zip(letters, runs, strict=True):
        view = make_view(run.trajectory, sinks=rule)
        figure = trajectory_heatmap(view, normalised=True, show_sinks=False, height=340)
        parts.append((f"{letter}: {run.name}", "attention received, mean over layers and heads", figure))
    answers = answer_claims(found)
    if answers:  # none is said of autoregressive models
        parts.append(("The claims", "with 95 % intervals", claims_forest(answers)))
        parts.append(("The claims in numbers", "", pd.DataFrame(answers_table(answers))))
    for run, letter in enumerate(letters[1:], start=1):
        figure = difference_heatmap(*found.aligned(run), names=("A", letter))
        parts.append((f"{letter} relative to A", "attention received, position by position", figure))
    for name, (title, _) in CURVES.items():
        figure = comparison_curve(found, name)
        parts.append((title, "bands: 95 % interval over prompts, where there are several", figure))
    parts.append(("Metrics", "intervals over prompts; NaN with a single prompt", found.table.drop(columns="metric")))
    title = " and ".join(found.names) if len(runs) == 2 else f"{len(runs)} runs compared"
    about = provenance(f"Comparison: {title}", runs, {"rule": rule.name, "threshold": rule.threshold})
    return html_report(f"Comparison: {title}", about, parts)


def checked_view(
    run: Any, sample: int, layer: int | None, head: int | None, rule: SinkRule, *, with_sink_rate: bool = False
) -> View:
    """Return the view of a run with its sinks.

    Raises:
        InvalidInput: a sample, layer or head that it does not have.
    """
    trajectories = trajectories_of(run)
    sizes = {
        "sample": len(trajectories),
        "head": trajectories[0].sizes["head"],
    }
    for name, value in (("sample", sample), ("head", head)):
        if value is not None and not 0 <= value < sizes[name]:
            raise InvalidInput(f"{name} is {value}; the run has {name}s 0 to {sizes[name] - 1}.")
    if layer is not None:
        layer_index(trajectories[sample], layer)
    return make_view(trajectories[sample], layer, head, rule, with_sink_rate=with_sink_rate)
