"""Weights that stay make up for units that go: the least-squares answer, and closer to the dense model than without."""

from __future__ import annotations

import pytest
import torch

from sap_core.errors import InvalidInput
from sap_core.models.loading import load_model
from sap_core.pruning.api import prune
from sap_core.pruning.scoring.module_inputs import inputs_of
from sap_core.pruning.scoring.sparsegpt import DAMPING
from sap_core.pruning.scoring.statistics import TokenRows
from sap_core.pruning.structured.compensation import least_squares_update


@pytest.fixture(scope="module")
def model(tiny_diffusion):
    return load_model(str(tiny_diffusion))


@pytest.fixture(scope="module")
def rows():
    tokens = torch.randint(4, 90, (12, 24), generator=torch.Generator().manual_seed(0))
    return TokenRows(tokens, torch.ones(tokens.shape))


@pytest.mark.parametrize(("unit", "kind", "columns"), [("channels", "down", [3, 9, 10]), ("heads", "o", range(16, 32))])
def test_the_first_layer_s_weights_are_the_least_squares_ones(model, rows, unit, kind, columns):
    """By torch.linalg.lstsq on the inputs themselves; the damping is a row of its own for each column."""
    gone = [[1] if unit == "heads" else list(columns), [], []]
    name = next(m.name for m in model.info.matrices if m.layer == 0 and m.kind == kind)
    linear = model.module.get_submodule(name)
    with torch.no_grad(), inputs_of({name: linear}) as inputs:
        model.logits(rows.tokens)
    x, weight = inputs[name].flatten(0, 1).double(), linear.weight.data.double()
    stays = [column for column in range(weight.shape[1]) if column not in set(columns)]
    changed = model.clone()
    least_squares_update(changed, unit, gone, rows)
    found = changed.module.get_submodule(name).weight.data
    damping = (DAMPING * (x.square().sum(0)).mean()).sqrt()
    # min |X_G W_G' - X_R D'|^2 + damping |D|^2, with D what is added to the columns that stay
    tall = torch.cat([x[:, stays], damping * torch.eye(len(stays), dtype=torch.float64)])
    aim = torch.cat([x[:, list(columns)] @ weight[:, list(columns)].T, torch.zeros(len(stays), len(weight)).double()])
    expected = weight[:, stays] + torch.linalg.lstsq(tall, aim).solution.T
    torch.testing.assert_close(found[:, stays].double(), expected, rtol=1e-3, atol=1e-5)
    assert (found[:, list(columns)] == 0).all()
    other = next(m.name for m in model.info.matrices if m.layer == 1 and m.kind == kind)
    assert torch.equal(changed.module.get_submodule(other).weight, model.module.get_submodule(other).weight)


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["heads", "channels"])
def test_what_is_left_comes_nearer_to_the_dense_model(model, unit):
    asked = {"method": "wanda", "pattern": unit, "sparsity": 0.5, "samples": 16}
    plain, moved = (prune(model, compensate=way, **asked) for way in ("none", "weights"))
    assert plain.report["removed"]["per_layer"] == moved.report["removed"]["per_layer"]
    assert moved.report["removed"]["compensate"] == "weights"
    assert moved.model.info.parameters == plain.model.info.parameters  # no bias comes in
    tokens = torch.randint(4, 90, (8, 24), generator=torch.Generator().manual_seed(1))
    tokens[:, ::2] = model.info.mask_token_id  # a diffusion model's weights are moved for partly masked texts
    aim = model.logits(tokens)
    apart = [(pruned.model.logits(tokens) - aim).square().mean() for pruned in (plain, moved)]
    assert apart[1] < apart[0]


def test_a_causal_model_is_measured_on_clean_texts(tiny_causal):
    found = prune(str(tiny_causal), method="wanda", pattern="channels", sparsity=0.25, samples=4, compensate="weights")
    assert found.report["removed"]["compensate"] == "weights"


def test_flap_has_its_own_way(model):
    with pytest.raises(InvalidInput, match="makes up by a bias"):
        prune(model, method="flap", pattern="heads", sparsity=0.5, compensate="weights")
