"""The replay's data says what the view says."""

from __future__ import annotations

import base64
import json

import numpy as np

from sap_core.plots.quantity import share_levels
from sap_core.plots.replay import (
    ACCEPTED,
    MASKED,
    SINK,
    replay_data,
)
from sap_core.plots.view import View, make_view
from sap_core.trajectory.synthetic import synthetic_trajectory


def array(text: str, kind: str = "u1") -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def test_levels_states_and_words_of_every_cell():
    sinks = np.zeros((6, 16), bool)
    sinks[1, 2] = True
    view = make_view(synthetic_trajectory("drifting", 6, 2, 2, 16), 0, 1, sinks)
    data = replay_data(view, step=4)
    np.testing.assert_array_equal(array(data["levels"]).reshape(6, 16), share_levels(view.times_even))
    states = array(data["states"]).reshape(6, 16)
    np.testing.assert_array_equal((states & MASKED) > 0, view.masked)
    np.testing.assert_array_equal((states & ACCEPTED) > 0, view.accepted)
    np.testing.assert_array_equal((states & SINK) > 0, sinks)
    words = array(data["words"], "<u2").reshape(6, 16)
    assert data["vocabulary"][words[5, 9]] == view.piece(5, 9)
    assert (data["start"], data["path"], data["prompt"]) == (4, view.path.tolist(), 4)
    assert len(data["colours"]) == 256
    json.dumps(data)


def test_a_long_run_is_thinned_by_whole_steps():
    share = np.full((500, 2000), 1 / 2000, np.float32)
    none = np.zeros(share.shape, bool)
    view = View(
        share,
        share * 2000,
        share.argmax(1),
        none,
        np.zeros(share.shape, np.int32),
        none,
        none,
        none[0],
        {0: "a"},
        "x",
        "masked_diffusion",
        500,
    )
    data = replay_data(view, step=499)
    assert data["steps"][0] == 0 and data["steps"][-1] == 499 and len(data["steps"]) <= 201
    assert data["steps"][data["start"]] == 499
    assert len(json.dumps(data)) < 3_000_000
