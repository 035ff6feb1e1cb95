"""The claims on diffusion models' sinks as a forest plot: one row a claim and run, with its 95 % interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from ..sinks.claims import FAILS, HOLDS, NO_REFERENCE, UNDECIDED, Answer
from ..sinks.compare import LETTERS
from .theme import base_figure

# Colour and symbol of each answer: Okabe and Ito's green, vermilion and grey.
MARKS = {HOLDS: ("#009E73", "circle"), FAILS: ("#D55E00", "x"), UNDECIDED: ("#7F7F7F", "circle-open")}
WITHOUT = ("#7F7F7F", "line-ns-open")


def claims_forest(answers: Sequence[Answer], *, height: int | None = None) -> go.Figure:
    """Draw each claim's effect in the claimed direction, with its 95 % interval.

    An effect is the difference from the autoregressive run, or the change within the run; right of 0 is what the claim
    says. All are fractions: of the run's steps or of the text's length.
    """
    rows = list(reversed(answers))  # the first on top
    labels = [_label(answer) for answer in rows]
    figure = base_figure(
        height or 74 + 44 * len(rows),
        xaxis={"title": "effect in the claimed direction (share of the run or of the length)", "zeroline": False},
        yaxis={
            "showgrid": False,
            "zeroline": False,
            "range": [-0.6, len(rows) - 0.4],
            "tickvals": list(range(len(rows))),
            "ticktext": labels,
            "automargin": True,
        },
        margin={"l": 16, "r": 16, "t": 8, "b": 44},
        showlegend=False,
    )
    figure.add_vline(x=0, line={"color": "#7F7F7F", "width": 1, "dash": "dash"})
    for place, answer in enumerate(rows):
        colour, symbol = MARKS.get(answer.answer, WITHOUT)
        sign, found = (1 if answer.claim.rises else -1), answer.found
        if found is None:
            figure.add_annotation(x=0, y=place, text=NO_REFERENCE, showarrow=False, xanchor="left", xshift=8)
            continue
        ends = sorted((sign * found.low, sign * found.high))
        reach = np.nan_to_num([ends[1] - sign * found.value, sign * found.value - ends[0]])
        figure.add_trace(
            go.Scatter(
                x=[sign * found.value],
                y=[place],
                error_x={"type": "data", "array": [reach[0]], "arrayminus": [reach[1]], "thickness": 2, "width": 6},
                mode="markers+text",
                marker={"color": colour, "symbol": symbol, "size": 11, "line": {"width": 2}},
                text=[answer.answer],
                textposition="top center",
                textfont={"color": colour},
                name=f"{answer.claim.sentence} ({LETTERS[answer.run].upper()})",
                customdata=[[answer.title, found.value, found.low, found.high, answer.unit]],
                hovertemplate="%{customdata[0]}: %{customdata[1]:+.3f} [%{customdata[2]:+.3f}, %{customdata[3]:+.3f}] "
                "%{customdata[4]}<extra></extra>",
            )
        )
    return figure


def _label(answer: Answer) -> str:
    run = LETTERS[answer.run].upper()
    against = f"{run} against {LETTERS[answer.reference].upper()}" if answer.reference is not None else run
    return f"{answer.claim.sentence}<br>({against})"
