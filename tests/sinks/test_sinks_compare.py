"""Comparing runs: a normalised time axis, shares that stay shares, and numbers known beforehand."""

import json
import math

import numpy as np
import pytest

from sap_core.errors import InvalidInput
from sap_core.sinks.claims import _answer, answer_claims, answers_table
from sap_core.sinks.compare import (
    CURVES,
    compare_runs,
    rebin,
    resample,
)
from sap_core.sinks.intervals import Interval, difference_interval, mean_interval
from sap_core.trajectory.synthetic import synthetic_trajectory


def value(comparison, metric, column="difference"):
    return comparison.table.set_index("metric").loc[metric, column]


def test_a_still_and_a_moving_sink():
    found = compare_runs(synthetic_trajectory("fixed"), synthetic_trajectory("alternating"), points=16)
    assert found.names == ("synthetic:fixed", "synthetic:alternating")
    assert value(found, "switch_rate") == 1 and value(found, "persistence") == 1 / 16 - 1
    assert value(found, "temporal_deviation", "b") == 8 / 32 and value(found, "temporal_deviation", "a") == 0
    assert found.paths[0].tolist() == [0] * 16 and found.paths[1].tolist() == [0, 16] * 8
    assert found.difference.shape == (16, 32)
    assert found.difference[1, 0] == pytest.approx(-0.5) and found.difference[1, 16] == pytest.approx(0.5)


def test_a_run_does_not_differ_from_itself():
    dataset = synthetic_trajectory("mixed")
    found = compare_runs(dataset, dataset)
    assert (found.table["difference"] == 0).all() and (found.difference == 0).all()


def test_runs_of_different_length_and_steps():
    found = compare_runs(
        synthetic_trajectory("fixed", steps=5, positions=24, objective="autoregressive"),
        [synthetic_trajectory("drifting", steps=9, positions=36), synthetic_trajectory("flat", steps=1, positions=36)],
        points=7,
    )
    assert found.received[0].shape == (7, 24) and found.received[1].shape == (7, 36)
    assert found.difference.shape == (7, 24)
    first, second = found.aligned(1)
    assert np.isnan(first).sum() == np.isnan(second).sum() > 0
    assert all(len(curve) == 7 for pair in found.curves.values() for curve in pair) and set(found.curves) == set(CURVES)
    assert value(found, "masked_share", "a") == 0 and value(found, "masked_share", "b") > 0
    assert value(found, "switch_rate", "b") == 0.5 and value(found, "switch_rate", "b_sd") == 0.5
    document = found.to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_resample_is_linear_and_rebin_keeps_sums():
    values = np.array([[0.0], [10.0], [30.0]])
    assert resample(values, np.array([0, 0.25, 0.5, 0.75, 1]))[:, 0].tolist() == [0, 5, 10, 20, 30]
    assert resample(values[:1], np.array([0, 1]))[:, 0].tolist() == [0, 0]
    assert rebin(np.array([[0.1, 0.2, 0.3, 0.4]]), 2).tolist() == [[pytest.approx(0.3), pytest.approx(0.7)]]
    assert rebin(np.array([0.1, 0.2, 0.7]), 2).tolist() == [pytest.approx(0.2), pytest.approx(0.8)]


def test_intervals_are_students():
    values = np.array([1.0, 2.0, 3.0, 4.0])
    found = mean_interval(values)
    half = 3.182446 * values.std(ddof=1) / 2  # t(3) at 97.5 % from any table
    assert (found.value, found.low, found.high) == pytest.approx((2.5, 2.5 - half, 2.5 + half))
    later = values + np.array([1, 1.1, 0.9, 1])
    paired = difference_interval(values, later, paired=True)
    apart = difference_interval(values, later, paired=False)
    assert paired.excludes_zero and not apart.excludes_zero and paired.value == apart.value == pytest.approx(1)
    from scipy.stats import ttest_ind

    reference = ttest_ind(later, values, equal_var=False).confidence_interval(0.95)
    assert (apart.low, apart.high) == pytest.approx((reference.low, reference.high))
    alone = mean_interval(np.array([3.0]))
    assert math.isnan(alone.low) and not alone.excludes_zero


class Source:
    """What `compare_runs` reads of a run."""

    def __init__(self, name, prompts, *trajectories):
        self.name, self.spec, self.trajectories = name, {"prompts": prompts}, list(trajectories)


def test_several_runs_have_intervals_over_prompts_and_pair_the_same_prompts():
    still = Source("still", ["a", "b"], *[synthetic_trajectory("fixed", 12)] * 2)
    mixed = Source("mixed", ["a", "b"], synthetic_trajectory("alternating", 12), synthetic_trajectory("fixed", 12))
    third = Source("third", ["x"], synthetic_trajectory("drifting", 12))
    found = compare_runs(still, mixed, third, points=5)
    row = found.table.set_index("metric").loc["switch_rate"]
    assert (row["a"], row["b"], row["c"]) == (0, 0.5, 1) and row["difference"] == 0.5 and row["difference_c"] == 1
    assert (
        (row["b_low"], row["b_high"]) == pytest.approx((0, 1), abs=1e-6)
        and row["a_low"] == row["a_high"] == 0
        and math.isnan(row["c_low"])
    )
    assert (row["interval_over"], row["interval_over_c"]) == ("prompts", "heads")
    assert found.bands["entropy"][1].shape == (2, 5) and found.bands["entropy"][2] is None
    assert found.names == ("still", "mixed", "third") and len(found.differences) == 2
    json.dumps(found.to_dict(), allow_nan=False)
    assert len(found.received) == 3


def test_the_claims_are_answered_by_the_numbers():
    causal = synthetic_trajectory("fixed", 12, objective="autoregressive")
    found = compare_runs(causal, synthetic_trajectory("mixed", 12, heads=8))
    answers = {item.claim.metric: item for item in answer_claims(found)}
    assert set(answers) == {"temporal_deviation", "persistence", "distance_change"}
    assert {item.run for item in answers.values()} == {1}  # the autoregressive run is not asked
    assert answers["persistence"].answer == "holds" and answers["persistence"].found.high < 0
    assert answers["distance_change"].reference is None
    assert [row["run"] for row in answers_table(list(answers.values()))] == ["B against A", "B against A", "B"]


def test_the_reference_of_the_claims_is_the_autoregressive_run_wherever_it_stands():
    runs = [synthetic_trajectory(kind, 12, heads=8) for kind in ("mixed", "alternating")]
    causal = synthetic_trajectory("fixed", 12, heads=8, objective="autoregressive")
    found = compare_runs(runs[0], causal, runs[1])
    answers = answer_claims(found)
    assert [(item.run, item.reference) for item in answers] == [(0, 1), (0, 1), (0, None), (2, 1), (2, 1), (2, None)]
    same = compare_runs(causal, runs[0])
    assert [item.answer for item in answers[:3]] == [item.answer for item in answer_claims(same)]
    assert answers[0].found == answer_claims(same)[0].found


def test_without_an_autoregressive_run_two_claims_are_not_answered_and_without_a_diffusion_run_none():
    found = compare_runs(synthetic_trajectory("fixed", 12), synthetic_trajectory("mixed", 12, heads=8))
    answers = [item.answer for item in answer_claims(found)]
    assert answers[:2] == answers[3:5] == ["needs an autoregressive run"] * 2
    assert answers_table(answer_claims(found))[0]["by how much"] == "–"
    assert not answer_claims(compare_runs(*[synthetic_trajectory("fixed", 4, objective="autoregressive")] * 2))


@pytest.mark.parametrize("value, low, high, rises, answer", [
    (1, 0.1, 2, True, "holds"), (1, -0.1, 2, True, "undecided"), (-1, -2, 0.1, True, "undecided"),
    (-1, -2, -0.1, True, "doesn't hold"), (-1, -2, -0.1, False, "holds"), (1, 0.1, 2, False, "doesn't hold"),
    (0, 0, 0, True, "undecided"), (1, float("nan"), float("nan"), True, "undecided"),
])  # fmt: skip
def test_a_claim_is_undecided_on_either_side_of_zero(value, low, high, rises, answer):
    assert _answer(Interval(value, low, high, "prompts"), rises) == answer


def test_intervals_of_bounded_metrics_stay_within_them():
    still = Source("still", ["a", "b"], *[synthetic_trajectory("fixed", 12)] * 2)
    mixed = Source("mixed", ["a", "b"], synthetic_trajectory("alternating", 12), synthetic_trajectory("fixed", 12))
    row = compare_runs(still, mixed).table.set_index("metric").loc["switch_rate"]
    assert 0 <= row["b_low"] < 1e-6 and 1 - 1e-6 < row["b_high"] <= 1
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((-1, 1), abs=1e-6)


@pytest.mark.parametrize("count", [0, 1, 8])
def test_too_few_and_too_many_runs_are_refused(count):
    with pytest.raises(InvalidInput, match="2 to 7"):
        compare_runs(*[synthetic_trajectory("fixed", 4)] * count)
