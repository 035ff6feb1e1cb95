"""Figures against the data they are drawn from."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from sap_core.plots.attention import attention_figure
from sap_core.plots.compare import difference_heatmap
from sap_core.plots.difference import differing_words
from sap_core.plots.heads import component_bars, head_grid
from sap_core.plots.heatmap import trajectory_heatmap
from sap_core.plots.html_page import html_report
from sap_core.plots.lines import frequency_bars, step_lines
from sap_core.plots.multiples import layer_multiples
from sap_core.plots.plan import plan_bars, plan_matrices, removed_heads
from sap_core.plots.prediction import prediction_curve
from sap_core.plots.quantity import share_levels
from sap_core.plots.reduce import reduce_max
from sap_core.plots.shaded import shaded_text
from sap_core.plots.theme import palette
from sap_core.plots.tradeoff import Axis, tradeoff
from sap_core.plots.view import View, make_view, printable
from sap_core.sinks.instability import COMPONENTS, rank_heads
from sap_core.trajectory.synthetic import synthetic_trajectory


def trace(figure, name):
    return next(item for item in figure.data if item.name == name)


def test_a_view_is_the_trajectory_and_its_mean():
    data = synthetic_trajectory("mixed", 8, 2, 4, 16)
    one, mean = make_view(data, 1, 2), make_view(data)
    np.testing.assert_array_equal(one.share, data["received"].values[:, 1, 2])
    np.testing.assert_allclose(mean.share, data["received"].values.mean(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_allclose(one.times_even, 16 * one.share, rtol=1e-6)
    assert one.label == "layer 1, head 2" and mean.label == "mean over all layers and heads"


def test_an_autoregressive_view_leaves_out_what_is_not_written():
    data = synthetic_trajectory("fixed", 12, 1, 1, 16, objective="autoregressive")
    view = make_view(data)
    exists = ~data["masked"].values
    assert np.isnan(view.times_even[~exists]).all()
    np.testing.assert_allclose(np.nanmean(view.times_even, axis=1), 1, rtol=1e-5)  # even share = 1, whatever the prefix
    assert (view.path == 0).all()


def test_the_view_knows_the_text_after_each_step():
    view = make_view(synthetic_trajectory("fixed", 4, 1, 1, 12, prompt_length=4))
    assert view.piece(0, 3) == "w4" and view.piece(0, 11) == "[mask]" and view.piece(3, 11) == "w12"
    assert view.accepted[0].tolist() == [False] * 4 + [True] * 2 + [False] * 6
    np.testing.assert_array_equal(view.frontier()[4:], [0, 0, 1, 1, 2, 2, 3, 3])
    assert np.isnan(view.frontier()[:4]).all()


@pytest.mark.parametrize(("text", "shown"), [("\n", "↵"), (" ", "␣"), ("", "∅"), ("a b", "a b")])
def test_white_space_is_visible(text, shown):
    assert printable(text) == shown


def test_levels_are_logarithmic_and_clipped():
    values = np.array([np.nan, 0, 0.25, 1, 64, 1000], np.float32)
    assert share_levels(values).tolist() == [0, 1, 1, 65, 255, 255]
    assert share_levels(values).dtype == np.uint8


def test_reduction_keeps_the_largest_of_each_block():
    values = np.zeros((10, 7), np.float32)
    values[9, 6], values[0, 1], values[3, 3] = 5, 3, np.nan
    reduced, tall, wide = reduce_max(values, rows=4, columns=3)
    assert (tall, wide, reduced.shape) == (3, 3, (4, 3))
    assert reduced[3, 2] == 5 and reduced[0, 0] == 3
    same, tall, wide = reduce_max(values)
    assert (tall, wide) == (1, 1) and same is values


def test_the_heatmap_holds_levels_shares_and_words():
    view = make_view(synthetic_trajectory("drifting", 8, 2, 2, 16), 0, 0)
    figure = trajectory_heatmap(view, step=3)
    heat = figure.data[0]
    np.testing.assert_array_equal(heat.z, share_levels(view.times_even))
    np.testing.assert_array_equal(heat.customdata, view.share)
    assert heat.z.dtype == np.uint8 and heat.customdata.dtype == np.float32
    assert heat.text[7][15] == "w16"
    np.testing.assert_array_equal(trace(figure, "dominant position").x, view.path)
    assert figure.layout.shapes[0].y0 == 3
    assert "even share" in heat.colorbar.title.text and figure.layout.xaxis.title.text == "position (tokens)"


def test_sinks_and_the_frontier_are_drawn_where_they_are():
    data = synthetic_trajectory("alternating", 6, 1, 1, 16)
    sinks = np.zeros((6, 16), bool)
    sinks[2, 5] = True
    figure = trajectory_heatmap(make_view(data, sinks=sinks), normalised=True)
    assert (trace(figure, "sink").x.tolist(), trace(figure, "sink").y.tolist()) == ([5], [0.4])
    assert trace(figure, "token written").x.tolist() == list(range(4, 16))


def test_a_long_run_stays_small_and_keeps_a_lone_sink():
    share = np.full((700, 4096), 1e-5, np.float32)
    share[333, 1234] = 0.9
    state = np.zeros(share.shape, bool)
    view = View(
        share,
        share * 4096,
        share.argmax(1),
        state,
        np.zeros(share.shape, np.int32),
        state,
        state,
        state[0],
        {},
        "x",
        "masked_diffusion",
        700,
    )
    figure = trajectory_heatmap(view)
    assert figure.data[0].z.max() == 255
    assert len(figure.to_json()) < 2_000_000
    assert "largest of each" in figure.layout.xaxis.title.text


def test_every_layer_is_drawn_once():
    figure = layer_multiples(synthetic_trajectory("mixed", 8, 5, 2, 16))
    assert sum(item.type == "heatmap" for item in figure.data) == 5
    assert [note.text for note in figure.layout.annotations] == [f"layer {n}" for n in range(5)]
    assert len(layer_multiples(synthetic_trajectory("flat", 2, 40, 1, 4)).layout.annotations) == 32


def test_the_grid_shows_the_ranking_and_reports_the_head_under_a_click():
    ranking = rank_heads(synthetic_trajectory("mixed", 8, 2, 4, 16))
    figure = head_grid(ranking, selected=(1, 2))
    heat, marks = figure.data
    for row in ranking.itertuples():
        assert heat.z[row.layer][row.head] == pytest.approx(row.instability)
    spot = next(entry for entry in marks.customdata if entry[0] == 1 and entry[1] == 2)
    assert spot[3] == ranking.query("layer == 1 and head == 2")["rank"].iloc[0]
    assert (heat.zmin, heat.zmax) == (0, 1)
    assert {(shape.x0, shape.y0) for shape in figure.layout.shapes} == {(1.5, 0.5)}


def test_component_bars_count_what_is_high_for_a_steady_head_the_other_way_round():
    steady = {"persistence": 0.9, "dominance": 0.7, "autocorrelation": 1.0, "overlap": 0.5}
    bars = component_bars(pd.Series({"switch_rate": 0.25, "deviation": 0.1, **steady})).data[0]
    shown = dict(zip(bars.y, bars.x, strict=True))
    expected = {"switch_rate": 0.25, "deviation": 0.1} | {name: 1 - value for name, value in steady.items()}
    assert shown == pytest.approx({part.title: expected[part.column] for part in COMPONENTS.values()})


def test_lines_have_units_and_bands():
    figure = step_lines({"a": [1, 2]}, "nats", bands={"a": ([0, 1], [2, 3])}, x=[0, 1], x_title="share of the run")
    assert figure.data[0].y.tolist() == [2, 3, 1, 0] and figure.data[1].y.tolist() == [1, 2]
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("share of the run", "nats")


def test_frequency_bars_are_sorted_and_leave_out_zeros():
    bars = frequency_bars(np.array([0.25, 0, 0.75]), ["a", "b", "c"]).data[0]
    assert bars.x == ("2 · c", "0 · a") and bars.y == (0.75, 0.25)


def test_the_plan_adds_up():
    kept, removed = plan_bars([0, 1], [100, 200], [50, 20]).data
    assert list(kept.y) == [50, 180] and list(removed.y) == [50, 20] and list(removed.text) == ["50%", "10%"]
    assert plan_matrices([0, 1], ["q_proj"], [[0.5, 0.1]]).data[0].z.tolist() == [[0.5, pytest.approx(0.1)]]
    assert removed_heads(2, 3, [(1, 2)]).data[0].z.tolist() == [[0, 0, 0], [0, 0, 1]]


def test_an_attention_map_is_logarithmic_down_to_a_hundredth_of_a_percent():
    attention = np.array([[1.0, 0.0], [0.01, 0.99]])
    heat = attention_figure(attention, ["a", "b"]).data[0]
    assert heat.z.tolist() == [[255, 0], [pytest.approx(127.5, abs=0.5), 255]]
    np.testing.assert_allclose(heat.customdata, attention, rtol=1e-6)
    assert heat.text[1][0] == "b → a"


def test_the_difference_is_symmetric_in_doublings():
    a, b = np.array([[1.0, 2.0, 1.0]]), np.array([[2.0, 1.0, 1.0]])
    heat = difference_heatmap(a, b).data[0]
    np.testing.assert_allclose(heat.z, [[1, -1, 0]])
    assert (heat.zmin, heat.zmax) == (-4, 4)


def test_differing_words_are_marked_and_everything_is_escaped():
    first, second = differing_words("the <b> cat sat", "the <b> dog sat")
    assert "<b>" not in first and "&lt;b&gt;" in first
    assert first.count("<mark") == 1 and ">cat</mark>" in first and ">dog</mark>" in second
    assert "(nothing)" in differing_words("", "x")[0]


def test_shaded_text_escapes_marks_and_shades():
    data = synthetic_trajectory("fixed", 4, 1, 1, 8, prompt_length=2)
    data.attrs["pieces"] = json.dumps({"1": "<script>", "2": "b"})
    page = shaded_text(make_view(data), 0)
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert page.count("repeating-linear-gradient") == 4  # 8 places, 2 of the prompt, 2 written at step 0
    assert page.count("outline:2px") == 2
    red, green, blue = palette()[share_levels(np.array([0.5 * 8 + 0.5], np.float32))[0]]
    assert f"rgb({red},{green},{blue})" in page


def test_the_tradeoff_draws_the_frontier_and_rings_the_current_plan():
    rows = [("a", "wanda", 0.3, 0.1), ("b", "sink", 0.5, 0.2), ("c", "wanda", 0.4, 0.3), ("d", "sink", 0.2, 0.15)]
    points = pd.DataFrame(rows, columns=["id", "method", "size", "loss"]).assign(pattern="2:4", error=0.01, label="x")
    cost, quality = Axis("size", "left", ".0%"), Axis("loss", "loss")
    figure = tradeoff(points, points.iloc[[3, 0]], cost, quality, current="c", dense=(1.0, 0.0), methods=["z", "sink"])
    assert list(trace(figure, "frontier").x) == [0.2, 0.3] and trace(figure, "dense").x == (1.0,)
    assert [item.name for item in figure.data] == ["frontier", "sink, 2:4", "dense"]  # only methods that are named
    wanda = trace(tradeoff(points, points[:0], cost, quality, current="c"), "wanda, 2:4")
    assert [entry[0] for entry in wanda.customdata] == ["a", "c"] and wanda.marker.line.width == (0, 3)
    assert list(wanda.error_y.array) == [0.01, 0.01]


def test_the_prediction_shows_points_interval_and_the_plan():
    figure = prediction_curve([(0, 0, 0), (0.5, 0.2, 0.01)], [(0, 0, 0), (0.5, 0.18, 0.22)], (0.3, 0.1))
    assert trace(figure, "measured").error_y.array == pytest.approx(np.array([0, 0.01]))
    assert trace(figure, "this plan").y == (0.1,)
    assert list(trace(figure, "interval between measurements").x) == [0, 0.5, 0.5, 0]


def test_a_report_is_one_escaped_page_with_the_library_once():
    figure = component_bars(pd.Series(dict.fromkeys((part.column for part in COMPONENTS.values()), 0.5)))
    page = html_report("<run>", {"seed": 1}, [("A", "", figure), ("B", "n<", figure), ("C", "", "<script>x</script>")])
    assert "<h1>&lt;run&gt;</h1>" in page and "n&lt;" in page and "<script>x" not in page
    assert page.count("Plotly.newPlot") == 2 and 4_000_000 < len(page) < 7_000_000
