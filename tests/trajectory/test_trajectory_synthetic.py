"""The synthetic trajectories are what their docstring says, by hand."""

import numpy as np
import pytest

from sap_core.errors import InvalidInput, UnknownOption
from sap_core.trajectory.access import trajectories_of, visibility
from sap_core.trajectory.synthetic import KINDS, synthetic_trajectory


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("objective", ["masked_diffusion", "autoregressive"])
def test_received_sums_to_one(kind, objective):
    received = synthetic_trajectory(kind, objective=objective)["received"]
    np.testing.assert_allclose(received.sum("position"), 1, atol=1e-6)


def test_sinks_are_where_they_are_said_to_be():
    path = {kind: synthetic_trajectory(kind, 4, 1, 1, 8)["received"].values[:, 0, 0].argmax(-1) for kind in KINDS}
    assert path["fixed"].tolist() == [0, 0, 0, 0]
    assert path["alternating"].tolist() == [0, 4, 0, 4]
    assert path["drifting"].tolist() == [0, 2, 5, 7]
    flat = synthetic_trajectory("flat", 4, 1, 1, 8)["received"].values
    assert (flat == 1 / 8).all()
    fixed = synthetic_trajectory("fixed", 4, 1, 1, 8)["received"].values
    assert fixed[0, 0, 0, 0] == 0.5 + 0.5 / 8 and fixed[0, 0, 0, 1] == 0.5 / 8


def test_canvas_fills_from_left_to_right():
    made = synthetic_trajectory("fixed", 3, 1, 1, 8, prompt_length=2)
    assert made["masked"].sum("position").values.tolist() == [6, 4, 2]
    assert made["accepted"].sum("position").values.tolist() == [2, 2, 2]
    assert made["token"].values[0].tolist() == [1, 2, 0, 0, 0, 0, 0, 0]
    assert made["next_token"].values[-1].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


def test_visibility_bidirectional_and_causal():
    queries, visible = visibility(synthetic_trajectory("flat", 2, 1, 1, 4, prompt_length=2))
    assert queries.tolist() == [4, 4] and (visible == 4).all()
    queries, visible = visibility(synthetic_trajectory("flat", 2, 1, 1, 4, prompt_length=2, objective="autoregressive"))
    assert queries.tolist() == [2, 3]
    assert visible.tolist() == [[2, 1, 0, 0], [3, 2, 1, 0]]


def test_trajectories_of_runs_datasets_and_lists():
    dataset = synthetic_trajectory()

    class Run:
        trajectories = (dataset, dataset)

    assert len(trajectories_of(dataset)) == 1
    assert len(trajectories_of([Run(), dataset])) == 3
    with pytest.raises(InvalidInput, match="neither a run nor a trajectory"):
        trajectories_of(3)
    with pytest.raises(InvalidInput, match="no captured step"):
        trajectories_of(dataset.isel(step=slice(0, 0)))
    with pytest.raises(UnknownOption, match="drifting"):
        synthetic_trajectory("drifted")
