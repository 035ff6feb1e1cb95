"""The two rules of sink-aware pruning (arXiv 2602.17664), named apart: its public code's and its paper's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import save_tiny_llama

from sap_core.errors import InvalidInput
from sap_core.models.loading import load_model
from sap_core.pruning.api import prune
from sap_core.pruning.scoring.inputs import Inputs
from sap_core.pruning.scoring.sink_weighting import sink_mask, sink_weights

# One text, one layer, one head: of 8 queries' attention the first position gets half, the others the rest evenly.
RECEIVED = torch.tensor([[[[0.5] + [0.5 / 7] * 7]]])


def test_the_papers_rule_by_hand() -> None:
    """Column sums 4 and 8 * 0.5 / 7 = 0.571: the first exceeds the mean of the others by 3.43."""
    assert sink_mask(RECEIVED, 3.0).tolist() == [[1.0, 0, 0, 0, 0, 0, 0, 0]]
    assert sink_mask(RECEIVED, 3.5).tolist() == [[0.0] * 8]
    both = torch.cat([RECEIVED, torch.full_like(RECEIVED, 1 / 8)], 2)  # a second head without a sink
    assert sink_mask(both, 3.0).sum() == 0 and sink_mask(both, 1.5).sum() == 1  # the mean over heads: 2.5 and 0.786
    assert Inputs(sink_rule="paper", sink_epsilon=3.0).phi(RECEIVED).tolist() == sink_mask(RECEIVED, 3.0).tolist()
    assert torch.equal(Inputs().phi(RECEIVED), sink_weights(RECEIVED))


def test_both_are_options_of_a_pruning(tmp_path) -> None:
    model = load_model(str(save_tiny_llama(tmp_path / "model", causal=False)), device="cpu")
    ids = np.random.default_rng(0).integers(4, 96, (2, 12))
    np.save(tmp_path / "ids.npy", ids)
    asked = {"method": "sink", "sparsity": 0.5, "calibration": str(tmp_path / "ids.npy"), "noise_levels": 2}
    sums = {
        name: prune(model, **asked, **fields).report["weights_sha256"]
        for name, fields in {
            "code": {},
            "none": {"sink_rule": "paper", "sink_epsilon": 1e6},
            "some": {"sink_rule": "paper", "sink_epsilon": 0.0},
        }.items()
    }
    assert len(set(sums.values())) == 3
    # A rule that finds no sink is the control.
    assert sums["none"] == prune(model, **{**asked, "method": "noised_wanda"}).report["weights_sha256"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"method": "wanda", "sink_rule": "paper"}, "method 'wanda' looks at no sinks"),
        ({"method": "sink", "sink_epsilon": 2.0}, "it belongs to sink_rule paper"),
        ({"method": "sink", "sink_rule": "both"}, "sink_rule is 'both'"),
    ],
)
def test_what_does_not_belong_together(fields: dict, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        prune("demo:stories-diffusion", sparsity=0.5, **fields)
