"""Masks and weights against the public code of arXiv 2602.17664 on a LLaDA-format model (tests/golden)."""

from __future__ import annotations

import pytest
from safetensors.torch import load_file

from sap_core.models.loading import load_model
from sap_core.pruning.api import prune

# SparseGPT solves linear systems, so its weights agree to rounding; its masks are equal.
SOLVED = ["sparsegpt-0.5", "sparsegpt-2of4", "sink-sparsegpt-0.5", "sink-sparsegpt-2of4"]
EXACT = ["magnitude-0.5", "magnitude-2of4", "wanda-0.5", "wanda-2of4", "wanda-4of8", "sink-0.5", "sink-0.7"]


@pytest.fixture(scope="module")
def llada(golden):
    return load_model(str(golden / "tiny-llada"))


def prune_as(model, golden, name: str):
    """The pruning a golden file's name stands for, on the golden calibration tokens."""
    method, amount = name.rsplit("-", 1)
    pattern = amount.replace("of", ":") if "of" in amount else "unstructured"
    sparsity = 0.5 if "of" in amount else float(amount)
    calibration = str(golden / "calibration_tokens.npy")
    return prune(model, method=method.replace("-", "_"), sparsity=sparsity, pattern=pattern, calibration=calibration)


def expected(model, golden, name: str) -> dict:
    return {model.info.keys[key]: value for key, value in load_file(golden / f"{name}.safetensors").items()}


@pytest.mark.parametrize("name", EXACT)
def test_weights_equal_the_published_code(llada, golden, name):
    found = prune_as(llada, golden, name).model.module.state_dict()
    wanted = expected(llada, golden, name)
    assert len(wanted) == 14
    for key, value in wanted.items():
        assert found[key].equal(value), key


@pytest.mark.parametrize("name", SOLVED)
def test_sparsegpt_removes_the_same_and_moves_the_rest_alike(llada, golden, name):
    found = prune_as(llada, golden, name).model.module.state_dict()
    for key, value in expected(llada, golden, name).items():
        assert (found[key] == 0).equal(value == 0), key
        # The golden weights are themselves up to 0.98e-5 from the same sums in double precision (ours 0.33e-5), and how
        # far the two are apart depends on the processor: 0.7e-5 to 1.1e-5 was seen.
        assert (found[key] - value).abs().max() < 1.5e-5, key


def test_the_dense_model_is_untouched(llada, golden):
    prune_as(llada, golden, "wanda-0.5")
    stored = load_file(golden / "tiny-llada" / "model.safetensors")
    state = llada.module.state_dict()
    assert all(state[llada.info.keys[key]].equal(value) for key, value in stored.items())


def test_the_control_differs_from_sink_by_the_sinks_alone(llada, golden):
    """With phi = 0 everywhere, sink is noised Wanda; on this model some tokens are sinks, so the masks differ."""
    spec = {"sparsity": 0.5, "calibration": str(golden / "calibration_tokens.npy")}
    sink = prune(llada, method="sink", **spec).model.module.state_dict()
    control = prune(llada, method="noised_wanda", **spec).model.module.state_dict()
    differing = sum(int(((sink[m.name + ".weight"] == 0) != (control[m.name + ".weight"] == 0)).sum())
                    for m in llada.info.matrices)  # fmt: skip
    weights = sum(m.rows * m.cols for m in llada.info.matrices)
    assert 0 < differing < 0.2 * weights
