"""The instability score and its ranking, on heads whose components are known."""

import numpy as np
import pytest

from sap_core.errors import InvalidInput, UnknownOption
from sap_core.sinks.instability import (
    COMPONENTS,
    head_components,
    rank_heads,
    score_heads,
)
from sap_core.trajectory.synthetic import synthetic_trajectory

COLUMNS = ["layer", "head", "instability", *COMPONENTS, "rank"]


@pytest.fixture
def mixed():
    """Heads 0..3: fixed, alternating 0/16, drifting, flat; 16 steps, 32 positions."""
    return synthetic_trajectory("mixed", layers=2)


def test_known_heads_have_known_scores(mixed):
    table = rank_heads(mixed)
    assert list(table.columns) == COLUMNS and table["rank"].tolist() == list(range(1, 9))
    assert table["head"].tolist() == [2, 2, 1, 1, 0, 3, 0, 3], "drifting, alternating, then the still ones in order"
    alternating = table[(table.layer == 0) & (table["head"] == 1)].iloc[0]
    assert alternating.switch_rate == 1 and alternating.persistence == 1 / 16 and alternating.overlap == 0
    assert alternating.dominance == 0.5
    assert rank_heads(mixed, weights={"dominance": 1})["instability"].tolist()[2:4] == [0.5, 0.5]
    assert alternating.deviation == pytest.approx(2 * 8 / 31)  # centroids 0 and 16: deviation 8 of at most 15.5
    assert alternating.autocorrelation == pytest.approx(-1 / 31)
    assert alternating.instability == pytest.approx((1 + 15 / 16 + 16 / 31 + 1 + 1) / 5)
    still = table[table["head"].isin([0, 3])]
    assert still.instability.to_numpy() == pytest.approx(0, abs=1e-9)


def test_weights_choose_the_components(mixed):
    by_switching = rank_heads(mixed, weights={"switch_rate": 3})
    assert by_switching["instability"].tolist() == [1] * 4 + [0] * 4
    half = rank_heads(mixed, weights={"switch_rate": 1, "deviation": 1})
    assert half[half["head"] == 1]["instability"].iloc[0] == pytest.approx((1 + 16 / 31) / 2)
    np.testing.assert_array_equal(score_heads(head_components(mixed), {"switch_rate": 3}), by_switching)


def test_several_trajectories_are_averaged():
    both = rank_heads([synthetic_trajectory("fixed"), synthetic_trajectory("alternating")])
    assert len(both) == 8 and (both["switch_rate"] == 0.5).all() and (both["overlap"] == 0.5).all()


def test_degenerate_trajectories_score_zero():
    for dataset in (synthetic_trajectory("flat"), synthetic_trajectory("drifting", steps=1)):
        table = rank_heads(dataset)
        assert table["instability"].max() < 1e-9 and not table.isna().any(axis=None)


def test_causal_trajectories_are_ranked_over_their_prefix():
    table = rank_heads(synthetic_trajectory("fixed", objective="autoregressive"), rule="rate")
    assert (table["switch_rate"] == 0).all() and (table["overlap"] == 1).all()


def test_bad_weights_are_named(mixed):
    with pytest.raises(UnknownOption, match="switch_rate"):
        rank_heads(mixed, weights={"switching": 1})
    with pytest.raises(InvalidInput, match="at least 0"):
        rank_heads(mixed, weights={"overlap": -1})
    with pytest.raises(InvalidInput, match="All weights"):
        rank_heads(mixed, weights={"overlap": 0})
