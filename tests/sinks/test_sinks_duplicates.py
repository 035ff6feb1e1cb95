"""Heads that attend alike, on trajectories whose heads are known."""

import numpy as np
import pytest

from sap_core.errors import InvalidInput
from sap_core.sinks.redundant_heads import duplicate_heads, similarity
from sap_core.trajectory.synthetic import synthetic_trajectory


def test_heads_of_one_kind_are_doubles_across_layers():
    table = duplicate_heads(synthetic_trajectory("mixed", layers=2, heads=8))
    # Heads h and h + 4 of both layers have one kind; the flat ones (3, 7) never move and have no double.
    assert table.groupby("group")["head"].unique().map(sorted).tolist() == [[0, 4], [1, 5], [2, 6]]
    assert table["group"].value_counts().tolist() == [4, 4, 4]
    assert table["similarity"].to_numpy() == pytest.approx(1)


def test_similarity_is_the_correlation_over_steps_and_positions():
    generator = np.random.default_rng(0)
    dataset = synthetic_trajectory("fixed", steps=40, layers=2, heads=3, positions=8)
    dataset["received"].values[:] = generator.dirichlet(np.ones(8), size=(40, 2, 3))
    flat = dataset["received"].values.transpose(1, 2, 0, 3).reshape(6, -1)
    np.testing.assert_allclose(similarity([dataset]), np.corrcoef(flat), atol=1e-5)
    np.testing.assert_allclose(similarity([dataset, dataset]), similarity([dataset]), atol=1e-6)


def test_groups_are_chains_above_the_threshold():
    dataset = synthetic_trajectory("flat", steps=1, layers=1, heads=3, positions=4)
    rows = np.array([[1, -1, 0, 0], [1, -0.5, -0.5, 0], [0.5, 0.5, -1, 0]])  # correlations 0.87, 0, 0.5
    dataset["received"].values[0, 0] = 0.25 + 0.1 * rows
    assert duplicate_heads(dataset, threshold=0.9).empty
    assert duplicate_heads(dataset, threshold=0.8)["head"].tolist() == [0, 1]
    assert duplicate_heads(dataset, threshold=0.49)["head"].tolist() == [0, 1, 2]


def test_a_threshold_outside_its_range_is_refused():
    for threshold in (0, 1.1, -0.5, float("nan")):
        with pytest.raises(InvalidInput, match="threshold"):
            duplicate_heads(synthetic_trajectory("fixed"), threshold=threshold)
