"""Comparing runs: a normalised time axis, shares that stay shares, and numbers known beforehand."""

import json

import numpy as np
import pytest

from sap_core.sinks.compare import CURVES, compare_runs, rebin, resample
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
    np.testing.assert_allclose(found.difference.sum(axis=1), 0, atol=1e-6)
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
