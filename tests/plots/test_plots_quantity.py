"""Quantities of a map: their own range, a fitted range, and what is drawn in both."""

from __future__ import annotations

import numpy as np
import pytest

from sap_core.choices.sink_rules import SinkRule
from sap_core.errors import InvalidInput
from sap_core.plots.compare import difference_heatmap
from sap_core.plots.forest import claims_forest
from sap_core.plots.heads import head_grid
from sap_core.plots.heatmap import trajectory_heatmap
from sap_core.plots.multiples import layer_multiples
from sap_core.plots.quantity import ATTENTION, FITTED, SINK_RATE, usual_quantity
from sap_core.plots.replay import replay_data
from sap_core.plots.view import make_view
from sap_core.sinks.claims import answer_claims
from sap_core.sinks.compare import compare_runs
from sap_core.sinks.instability import rank_heads
from sap_core.sinks.sink_rate import sink_rate
from sap_core.trajectory.synthetic import synthetic_trajectory

RULE = SinkRule("column_sum")


@pytest.fixture(scope="module")
def view():
    return make_view(synthetic_trajectory("mixed", 8, 2, 4, 16), sinks=RULE, with_sink_rate=True)


def test_a_fitted_range_spans_the_values_and_the_legend_says_so(view):
    for quantity in (ATTENTION, SINK_RATE):
        values = quantity.values(view)
        own, fitted = quantity.scale(), quantity.scale(values)
        assert FITTED not in own.title and FITTED in fitted.title
        assert {fitted.levels(values).min(), fitted.levels(values).max()} == {1, 255}
        assert all(1 <= level <= 255 for level in fitted.ticks()) and len(fitted.ticks()) >= 3
        bar = trajectory_heatmap(view, quantity=quantity, fit=True).data[0].colorbar
        assert FITTED in bar.title.text


def test_a_flat_view_can_be_fitted():
    flat = np.full((2, 3), 0.25, np.float32)
    assert SINK_RATE.scale(flat).levels(flat).tolist() == [[1, 1, 1], [1, 1, 1]]
    assert SINK_RATE.scale(np.full((1, 1), np.nan)).levels(np.full((1, 1), np.nan)).tolist() == [[0]]


def test_the_sink_rate_is_drawn_and_the_attention_of_one_head_is_the_default():
    assert usual_quantity(None, 1) is SINK_RATE and usual_quantity(0, 1) is ATTENTION
    data = synthetic_trajectory("mixed", 8, 2, 4, 16)
    rated = make_view(data, 1, sinks=RULE, with_sink_rate=True)
    np.testing.assert_array_equal(rated.sink_rate, sink_rate(data, RULE, layer=1))
    np.testing.assert_array_equal(trajectory_heatmap(rated, quantity=SINK_RATE).data[0].customdata, rated.sink_rate)
    heat = [part for part in layer_multiples(data, quantity=SINK_RATE).data if part.type == "heatmap"]
    np.testing.assert_array_equal(heat[1].customdata, rated.sink_rate)
    with pytest.raises(InvalidInput, match="SinkRule"):
        make_view(data, with_sink_rate=True)


def test_the_player_gets_both_quantities_and_begins_with_the_one_asked_for(view):
    data = replay_data(view, quantity=ATTENTION, fit=True)
    assert [row["name"] for row in data["maps"]] == ["sink_rate", "attention"]
    assert (data["quantity"], data["fit"]) == ("attention", True)
    assert len({data["overlay"][name] for name in ("path", "sink", "written", "cursor")}) == 4


def test_the_grid_of_heads_can_span_its_own_range():
    ranking = rank_heads(synthetic_trajectory("mixed", 8, 2, 4, 16))
    heat = head_grid(ranking, fit=True).data[0]
    assert (heat.zmin, heat.zmax) == (ranking["instability"].min(), ranking["instability"].max())
    assert FITTED in heat.colorbar.title.text


def test_the_difference_is_blank_where_only_one_run_has_the_position():
    causal = synthetic_trajectory("fixed", 12, 1, 2, 16, objective="autoregressive")
    found = compare_runs(causal, synthetic_trajectory("drifting", 12, 1, 2, 16), points=12)
    exists = ~causal["masked"].values
    drawn = difference_heatmap(*found.aligned(1)).data[0].z
    np.testing.assert_array_equal(~np.isnan(drawn), exists)
    np.testing.assert_array_equal(~np.isnan(found.difference), exists)
    assert (~exists).sum() > 40 and found.to_dict()["difference"][0][-1] is None


def test_the_forest_has_a_row_a_claim_in_the_claimed_direction():
    found = compare_runs(synthetic_trajectory("fixed", objective="autoregressive"), synthetic_trajectory("alternating"))
    answers = answer_claims(found)
    figure = claims_forest(answers)
    rows = dict(zip(figure.layout.yaxis.ticktext, figure.layout.yaxis.tickvals, strict=True))
    assert len(rows) == len(answers) == 3
    for answer, point in zip(reversed(answers), figure.data, strict=True):
        sign = 1 if answer.claim.rises else -1
        assert point.x[0] == sign * answer.found.value and point.text[0] == answer.answer
        if answer.found.low == answer.found.low:
            ends = sorted((sign * answer.found.low, sign * answer.found.high))
            assert point.x[0] + point.error_x.array[0] == pytest.approx(ends[1])
            assert point.x[0] - point.error_x.arrayminus[0] == pytest.approx(ends[0])
