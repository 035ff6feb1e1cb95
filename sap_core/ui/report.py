"""The report of a captured run, to take home."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from .._version import __version__
from ..plots.heads import head_grid
from ..plots.heatmap import trajectory_heatmap
from ..plots.multiples import layer_multiples
from ..plots.report import html_report
from ..runs import Run
from ..sinks.motion import METRICS
from . import results
from .picks import Selection


def report_button(run: Run, pick: Selection) -> None:
    """One self-contained HTML file of the run as it is looked at."""
    st.download_button(
        "Report of this run (HTML)",
        lambda: run_report(run, pick),
        f"{run.id}-report.html",
        "text/html",
        on_click="ignore",
        help="Figures, numbers and settings in one file that needs nothing else; about 5 MB.",
    )


def run_report(run: Run, pick: Selection) -> str:
    """The HTML of the report."""
    path, stamp = str(run.path), results.stamp(run.path)
    view = results.view_of(path, stamp, pick.sample, pick.layer, pick.head, pick.rule, pick.threshold)
    summary = results.summary_of(path, stamp, pick.rule, pick.threshold, pick.sample)
    ranking = results.ranking_of(path, pick.rule, pick.threshold)
    numbers = pd.DataFrame(
        [
            {
                "quantity": row["title"],
                "mean over heads": row["mean"],
                "± over heads": row["sd_heads"],
                "unit": row["unit"],
            }
            | {"formula": METRICS[name].formula}
            for name, row in summary["metrics"].items()
        ]
    )
    rule = summary["rule"]
    parts = [
        ("Text", "", run.text),
        ("Attention received", f"{view.label}; in multiples of an even share", trajectory_heatmap(view)),
        ("Every layer", "mean over heads, same scale", layer_multiples(run.trajectories[pick.sample])),
        (
            "How the sinks move",
            f"sink rule: {rule['title']}, threshold {rule['threshold']:g} ({rule['unit']})",
            numbers,
        ),
        ("Instability of the heads", "0 steady, 1 unstable", head_grid(ranking)),
        ("Ranking", "", ranking.head(20)),
    ]
    versions = (run.manifest or {}).get("versions", {})
    about = {"run": run.id, "made with": f"sap-studio {__version__}", "settings": run.spec, "versions": versions}
    return html_report(run.name, about, parts)
