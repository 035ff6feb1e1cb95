"""What interventions cost: sinks blocked beside controls, and heads left out beside what was expected of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from .lines import step_lines
from .theme import PATH, SERIES, base_figure, colour_bar

# Colours of rankings: none is the grey of chance.
MANY = (*SERIES[:6], "#8A3D00", "#00664A", "#8C4B72", "#8F6200")

BLOCKED = {"sinks": "sinks", "random": "as many others", "mass": "others of equal mass"}
COLOURS = {"sinks": SERIES[1], "random": SERIES[0], "mass": SERIES[2]}
RANKINGS = {"measured": "measured damage", "greedy": "greedy group", "random": "random orders"}
LOSS = "loss increase (nats per token)"
MEASURES = {
    "difference": LOSS,
    "kl": "KL from the model as it is (nats per token)",
    "agreement": "tokens written as before (share)",
}


def blocking_curves(result: dict[str, Any], measure: str = "difference", *, height: int = 340) -> go.Figure:
    """Draw a measure against the number of sinks that are blocked, with the controls; bands are 95 % intervals.

    ``result``: of `sap_core.ablate_sinks`; ``measure``: one of `MEASURES`, or "task:NAME".
    """
    rows = [one for one in result["conditions"] if one["head"] is None]
    tops = sorted({one["top"] for one in rows})
    series, bands, colours = {}, {}, {}
    for kind, title in BLOCKED.items():
        by_top = {one["top"]: one for one in rows if one["kind"] == kind}
        if not by_top:
            continue
        none = next((one for one in rows if one["top"] == 0), None)
        found = [_value(by_top.get(top) or (none if top == 0 else None), measure) for top in tops]
        series[title], colours[title] = [value for value, _, _ in found], COLOURS[kind]
        if all(low is not None for value, low, _ in found if value is not None):
            bands[title] = ([low for _, low, _ in found], [high for _, _, high in found])
    title = MEASURES.get(measure) or f"{measure.partition(':')[2]} right (share)"
    figure = step_lines(
        series, title, x=tops, x_title="sinks blocked in every head", bands=bands, colours=colours, height=height,
        from_zero=False,
    )  # fmt: skip
    figure.update_xaxes(tickvals=tops)
    figure.for_each_trace(lambda trace: trace.update(mode="lines+markers") if trace.name else None)
    return figure


def level_curves(result: dict[str, Any], top: int, *, height: int = 300) -> go.Figure:
    """Draw the loss increase against the share of masked tokens: early steps of a generation see most masks."""
    rows = [one for one in result["conditions"] if one["head"] is None and one["top"] == top and one["levels"]]
    series, bands, colours, places = {}, {}, {}, []
    for one in rows:
        title, levels = BLOCKED[one["kind"]], one["levels"]
        places = [sum(level["masked"]) / 2 for level in levels]
        series[title] = [level["nats_per_token"] for level in levels]
        colours[title] = COLOURS[one["kind"]]
        if all(level["low"] is not None for level in levels):
            bands[title] = ([level["low"] for level in levels], [level["high"] for level in levels])
    figure = step_lines(
        series, LOSS, x=places, x_title="share of tokens masked (early steps right)", bands=bands, colours=colours,
        height=height, from_zero=False,
    )  # fmt: skip
    figure.update_xaxes(tickformat=".0%", range=[0, 1])
    return figure


def part_bars(result: dict[str, Any], *, height: int = 300) -> go.Figure:
    """Draw the share of tokens written otherwise when positions are blocked in one part of the generation alone."""
    figure = base_figure(height)
    for kind, title in BLOCKED.items():
        rows = [one for one in result["parts"] if one["kind"] == kind]
        if not rows:
            continue
        value = [1 - one["agreement"]["same_tokens"] for one in rows]
        ends = [(one["agreement"]["low"], one["agreement"]["high"]) for one in rows]
        known = all(low is not None for low, _ in ends)
        bars = {
            "type": "data", "symmetric": False, "thickness": 1,
            "array": [1 - low - each for each, (low, _) in zip(value, ends, strict=True)] if known else [],
            "arrayminus": [each - (1 - high) for each, (_, high) in zip(value, ends, strict=True)] if known else [],
        }  # fmt: skip
        figure.add_trace(
            go.Bar(
                x=[f"{one['part'][0]:.0%} to {one['part'][1]:.0%}" for one in rows], y=value, name=title,
                error_y=bars if known else None, marker={"color": COLOURS[kind]},
                hovertemplate=f"{title} blocked in %{{x}}<br>%{{y:.1%}} of the tokens differ<extra></extra>",
            )
        )  # fmt: skip
    figure.update_xaxes(title="part of the generation in which positions are blocked", type="category")
    figure.update_yaxes(title="tokens written otherwise (share)", tickformat=".0%", rangemode="tozero")
    return figure


def single_heads(result: dict[str, Any], *, height: int = 320) -> go.Figure:
    """Draw the loss increase when the sinks of one head alone are blocked, layer by head."""
    rows = [one for one in result["conditions"] if one["head"] is not None and one["kind"] == "sinks"]
    layers, heads = sorted({one["head"][0] for one in rows}), sorted({one["head"][1] for one in rows})
    by_head = {tuple(one["head"]): one["difference"]["nats_per_token"] for one in rows}
    figure = base_figure(height)
    figure.add_trace(
        go.Heatmap(
            z=[[by_head.get((layer, head)) for head in heads] for layer in layers], x=heads, y=layers,
            colorscale="RdBu_r", zmid=0, hoverongaps=False,
            colorbar=colour_bar(LOSS.replace(" (", "<br>(")),
            hovertemplate="layer %{y}, head %{x}<br>%{z:+.4f} nats per token<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title="head", dtick=1, showgrid=False)
    figure.update_yaxes(title="layer", dtick=1, autorange="reversed", showgrid=False)
    return figure


def damage_scatter(
    heads: Sequence[dict[str, Any]],
    score: str,
    title: str,
    *,
    selected: tuple[int, int] | None = None,
    height: int = 420,
) -> go.Figure:
    """Draw the measured damage of every head against a score of it, with 95 % intervals; a click carries its head."""
    figure = base_figure(height)
    known = all(one["damage"]["low"] is not None for one in heads)
    value = [one["damage"]["nats_per_token"] for one in heads]
    places = [(one["layer"], one["head"]) for one in heads]
    bars = None
    if known:
        bars = {
            "type": "data", "symmetric": False, "thickness": 1, "color": "#7F7F7F",
            "array": [one["damage"]["high"] - each for one, each in zip(heads, value, strict=True)],
            "arrayminus": [each - one["damage"]["low"] for one, each in zip(heads, value, strict=True)],
        }  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=[one["scores"][score] for one in heads], y=value, error_y=bars, mode="markers",
            marker={
                "size": [15 if place == selected else 10 for place in places], "opacity": 1,
                "color": [one["layer"] for one in heads], "colorscale": "Cividis",
                "colorbar": colour_bar("layer", dtick=max(1, len({one["layer"] for one in heads}) // 6)),
                "line": {"width": [3 if place == selected else 0 for place in places], "color": PATH},
            },
            customdata=places, selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}},
            hovertemplate="layer %{customdata[0]}, head %{customdata[1]}<br>"
            f"{title.lower()} %{{x:.3g}}<br>without it %{{y:+.4f}} nats per token<extra></extra>",
        )
    )  # fmt: skip
    figure.add_hline(y=0, line={"width": 1, "color": "#7F7F7F"})
    figure.update_xaxes(title=title, zeroline=False)
    figure.update_yaxes(title="damage: loss increase without it (nats per token)", zeroline=False)
    figure.update_layout(clickmode="event+select", dragmode=False)
    return figure


def ranking_curves(result: dict[str, Any], *, height: int = 400) -> go.Figure:
    """Draw the loss increase against heads left out in the order of each ranking; random orders with their interval."""
    titles = {one["score"]: one["title"].lower() for one in result["agreement"]} | RANKINGS
    series, bands, colours = {}, {}, {}
    places: list[int] = []
    for number, one in enumerate(result["curves"]):
        name, points = titles.get(one["ranking"], one["ranking"]), one["points"]
        places = [point["heads"] for point in points]
        series[name] = [point["difference"]["nats_per_token"] for point in points]
        colours[name] = "#7F7F7F" if one["ranking"] == "random" else MANY[number % len(MANY)]
        if one["ranking"] == "random" and points[0]["difference"]["low"] is not None:
            bands[name] = ([p["difference"]["low"] for p in points], [p["difference"]["high"] for p in points])
    return step_lines(
        series, LOSS, x=places, x_title="heads left out", bands=bands, colours=colours, height=height, from_zero=False
    )


def _value(one: dict[str, Any] | None, measure: str) -> tuple[float | None, float | None, float | None]:
    """Return (value, low, high) of a measure of one condition; None where it was not measured."""
    if one is None:
        return None, None, None
    kind, _, task = measure.partition(":")
    found = (one.get("tasks") or {}).get(task) if kind == "task" else one.get(measure)
    if found is None:
        return None, None, None
    value = found.get("score", found.get("same_tokens", found.get("nats_per_token")))
    return value, found["low"], found["high"]
