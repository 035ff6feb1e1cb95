"""The report of a captured run, or of a comparison, as a download."""

from __future__ import annotations

import streamlit as st

from ...choices.sink_rules import SinkRule
from ...plots.run_report import report
from ...runs.reading import Run
from .pickers import Selection

HELP = "Figures, numbers and settings in one file that needs nothing else; about 5 MB."


def report_button(run: Run, pick: Selection) -> None:
    """Show the download of one self-contained HTML file of the run in view."""
    st.download_button(
        "Report of this run (HTML)",
        lambda: report(run, rule=pick.rule, sample=pick.sample, layer=pick.layer, head=pick.head),
        f"{run.id}-report.html",
        "text/html",
        on_click="ignore",
        icon=":material/summarize:",
        help=HELP,
    )


def comparison_report_button(runs: list[Run], rule: SinkRule) -> None:
    """Show the download of one self-contained HTML file of the comparison."""
    st.download_button(
        "Report of this comparison (HTML)",
        lambda: report(*runs, rule=rule),
        "comparison-report.html",
        "text/html",
        on_click="ignore",
        icon=":material/summarize:",
        help=HELP,
    )
