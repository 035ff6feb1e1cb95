"""Motion metrics against numbers worked out by hand from the synthetic trajectories' docstring."""

import numpy as np
import pytest

from sap_core.sinks.motion import (
    METRICS,
    autocorrelation,
    dominance_entropy,
    dominance_frequency,
    dominant_positions,
    drift,
    dwell_times,
    longest_dwell,
    motion,
    overlap,
    persistence,
    spatial_variance,
    switch_rate,
    temporal_variance,
)
from sap_core.sinks.rules import find_sinks
from sap_core.trajectory.synthetic import synthetic_trajectory


def of(kind, steps=4, positions=8, threshold=2.0):
    """(step, position) of one head and its sinks. A sink's column sum here is 4.5, the others' 0.5."""
    received = synthetic_trajectory(kind, steps, 1, 1, positions)["received"].values[:, 0, 0]
    return received, find_sinks(received, threshold=threshold)


def test_fixed():
    found = motion(*of("fixed"))
    assert found["switch_rate"] == 0 and found["persistence"] == 1 and found["longest_dwell"] == 4
    assert found["dominance_entropy"] == 0 and found["temporal_variance"] == 0 and found["drift"] == 0
    assert found["autocorrelation"] == pytest.approx(1) and found["overlap"] == 1 and found["sinks_per_step"] == 1
    # One position at 9/16, seven at 1/16: mean 1/8, variance (49 + 7) / 256 / 8.
    assert found["spatial_variance"] == pytest.approx(56 / 256 / 8)


def test_alternating():
    found = motion(*of("alternating"))  # the sink is at 0, 4, 0, 4
    assert found["switch_rate"] == 1 and found["persistence"] == 1 / 4 and found["longest_dwell"] == 1
    assert found["dominance_entropy"] == pytest.approx(np.log(2))
    assert found["temporal_variance"] == 4 and found["temporal_deviation"] == 2 / 8
    assert found["overlap"] == 0
    # Two rows, each one spike on an even floor over 8 positions: correlation -1/7.
    assert found["autocorrelation"] == pytest.approx(-1 / 7)
    # JS divergence in bits: entropy of the middle minus entropy of a row; see the row above for the shares.
    row = -(9 / 16 * np.log2(9 / 16) + 7 / 16 * np.log2(1 / 16))
    middle = -(2 * 5 / 16 * np.log2(5 / 16) + 6 / 16 * np.log2(1 / 16))
    assert found["drift"] == pytest.approx(np.sqrt(middle - row))


def test_drifting():
    found = motion(*of("drifting"))  # 0, 2, 5, 7
    assert found["switch_rate"] == 1 and found["persistence"] == 1 / 4
    assert found["dominance_entropy"] == pytest.approx(np.log(4))
    assert found["temporal_variance"] == pytest.approx(np.var([0, 2, 5, 7]))


def test_flat_is_defined_everywhere():
    found = motion(*of("flat"))
    expected = {"switch_rate": 0, "persistence": 1, "longest_dwell": 4, "dominance_entropy": 0, "temporal_variance": 0}
    expected |= {"temporal_deviation": 0, "spatial_variance": 0, "autocorrelation": 1, "overlap": 1, "drift": 0}
    assert {name: float(value) for name, value in found.items()} == {**expected, "sinks_per_step": 0}
    assert set(found) == set(METRICS)


def test_one_step_is_defined_everywhere():
    found = motion(*of("fixed", steps=1))
    expected = {"switch_rate": 0, "persistence": 1, "longest_dwell": 1, "autocorrelation": 1, "overlap": 1, "drift": 0}
    assert {name: float(found[name]) for name in expected} == expected
    assert all(np.isfinite(value) for value in found.values())


def test_dwell_times_and_frequencies_of_a_path():
    path = np.array([3, 3, 0, 3, 3, 3])
    assert dwell_times(path) == [(3, 0, 2), (0, 2, 1), (3, 3, 3)]
    assert switch_rate(path) == 2 / 5
    assert persistence(path) == pytest.approx(2 / 6)  # mean dwell (2 + 1 + 3) / 3 = 2 of 6 steps
    assert longest_dwell(path) == 3
    assert dominance_frequency(path, 4).tolist() == [1 / 6, 0, 0, 5 / 6]
    assert dominance_entropy(path, 4) == pytest.approx(-(1 / 6 * np.log(1 / 6) + 5 / 6 * np.log(5 / 6)))
    assert dwell_times(np.array([], int)) == []


def test_centroid_leaves_out_steps_without_a_sink():
    received = np.array([[0.8, 0.1, 0.1], [0.3, 0.4, 0.3], [0.1, 0.1, 0.8]])
    sinks = received > 0.7
    assert temporal_variance(received, sinks) == 1  # centroids 0 and 2
    assert temporal_variance(received, np.zeros_like(sinks)) == 0
    weighted = np.array([[0.6, 0.4, 0.0], [0.0, 0.4, 0.6]])  # both positions are sinks: centroids 0.4 and 1.6
    assert temporal_variance(weighted, weighted > 0) == pytest.approx(0.36)


def test_overlap_is_jaccard_averaged_over_steps():
    sinks = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]], bool)
    assert overlap(sinks) == pytest.approx((1 / 3 + 0 + 1) / 3)


def test_autocorrelation_at_a_lag_and_with_constant_rows():
    received, _ = of("alternating")
    assert autocorrelation(received, lag=2) == pytest.approx(1)
    assert autocorrelation(received, lag=4) == 1
    mixed = np.array([[0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3], [1 / 3, 1 / 3, 1 / 3]], np.float32)
    assert autocorrelation(mixed) == pytest.approx(0.5)  # undefined -> 0, unchanged -> 1


def test_drift_of_disjoint_rows_is_one():
    assert drift(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])).tolist() == [1.0, 0.0]


def test_everything_is_vectorised_over_leading_dims():
    generator = np.random.default_rng(0)
    received = generator.dirichlet(np.full(12, 0.2), size=(6, 2, 3)).astype(np.float32)
    sinks = find_sinks(received, threshold=1.0)
    whole = motion(received, sinks)
    for layer in range(2):
        for head in range(3):
            single = motion(received[:, layer, head], sinks[:, layer, head])
            for name in METRICS:
                assert whole[name].shape == (2, 3)
                assert whole[name][layer, head] == pytest.approx(float(single[name]), rel=1e-6), name
    assert dominant_positions(received).shape == (6, 2, 3)
    assert spatial_variance(received).shape == (2, 3)
