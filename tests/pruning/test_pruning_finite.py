"""What is not finite is an error where it arises, and a plan that is not carried out is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import save_tiny_llama

from sap_core.attention.recorder import record_attention
from sap_core.errors import OperationFailed
from sap_core.evaluation.likelihood import Losses
from sap_core.models.loading import load_model
from sap_core.pruning.api import prune
from sap_core.pruning.planning.plan import PlannedMatrix
from sap_core.pruning.strategies.removal import check_carried_out


@pytest.fixture
def divides_by_the_unmasked(tmp_path):
    """A model whose embeddings are divided by the number of unmasked tokens, as ESM's token dropout does."""
    model = load_model(str(save_tiny_llama(tmp_path / "model", causal=False)))

    def divide(module, args, output):
        left = (args[0] != 2).sum(-1)[:, None, None]
        return output * left / left

    model.module.get_input_embeddings().register_forward_hook(divide)
    np.save(tmp_path / "ids.npy", np.random.default_rng(0).integers(4, 90, (4, 16)))
    return model, str(tmp_path / "ids.npy")


@pytest.mark.parametrize("method", ["sink", "noised_wanda", "taylor"])
def test_statistics_that_are_not_numbers_prune_nothing(divides_by_the_unmasked, method):
    model, texts = divides_by_the_unmasked
    with pytest.raises(OperationFailed, match="not finite"):
        prune(model, method=method, sparsity=0.5, calibration=texts, samples=4)


def test_the_layer_of_attention_that_is_not_finite_is_named(divides_by_the_unmasked):
    model, _ = divides_by_the_unmasked
    with record_attention(model) as recorder:
        model.logits(torch.full((1, 8), 2))
        with pytest.raises(OperationFailed, match="layer 0 is not finite"):
            recorder.collect()


def test_a_loss_that_is_no_number_is_an_error():
    with pytest.raises(OperationFailed, match="text 2 of 3"):
        Losses(np.array([1.0, np.nan, 2.0]), np.array([3, 3, 3]), "bound")


def test_fewer_zeros_than_planned_are_an_error():
    planned = PlannedMatrix("layers.0.up", 0, 2, 4, 0.5, 4)
    check_carried_out(planned, torch.tensor([[0.0, 0, 1, 2], [0, 0, 3, 4]]))
    with pytest.raises(OperationFailed, match="has 3 zeros where the plan says 4"):
        check_carried_out(planned, torch.tensor([[0.0, 1, 1, 2], [0, 0, 3, 4]]))
