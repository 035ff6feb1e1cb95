"""The full map of one head: computed again from the run's tokens, and the same as what was captured."""

import numpy as np
import pytest

import sap_core as sap
from sap_core.errors import InvalidInput
from sap_core.models.loading import load_model
from sap_core.specs.attention_map import AttentionMapSpec


@pytest.fixture(scope="module", params=["diffusion", "causal"])
def captured(request, tiny_diffusion, tiny_causal, tmp_path_factory):
    folder = tiny_diffusion if request.param == "diffusion" else tiny_causal
    model = load_model(str(folder))
    out = tmp_path_factory.mktemp("map") / "run"
    return model, sap.capture(model, prompts=["w1 w2 w3", "w4 w5"], length=18, steps=4, out=out)


def test_the_mean_over_queries_is_the_stored_array(captured):
    model, run = captured
    for sample, trajectory in enumerate(run.trajectories):
        for step in range(trajectory.sizes["step"]):
            attention = sap.attention_map(model, run, step, 1, 3, sample=sample)
            assert attention.shape == (trajectory.sizes["position"],) * 2 and attention.dtype == np.float32
            exists = attention.sum(axis=1) > 0
            np.testing.assert_allclose(attention[exists].sum(axis=1), 1, atol=1e-6)
            stored = trajectory["received"].values[step, 1, 3]
            np.testing.assert_allclose(attention[exists].mean(axis=0), stored, atol=1e-6)
            if trajectory.attrs["objective"] == "autoregressive":
                assert exists.sum() == trajectory.attrs["prompt_length"] + step and (np.triu(attention, 1) == 0).all()
            else:
                assert exists.all()


def test_the_mean_over_heads(captured):
    model, run = captured
    heads = [sap.attention_map(model, run.trajectory, 1, 0, head) for head in range(4)]
    np.testing.assert_allclose(sap.attention_map(model, run, 1, 0), np.mean(heads, axis=0), atol=1e-6)


def test_a_spec_is_the_same_request(captured):
    model, run = captured
    spec = AttentionMapSpec(run=str(run.path), step=1, layer=1, head=3, sample=1)
    np.testing.assert_array_equal(
        sap.attention_map(model, spec=spec), sap.attention_map(model, run, 1, 1, head=3, sample=1)
    )
    with pytest.raises(InvalidInput, match="not both"):
        sap.attention_map(model, step=0, spec=spec)
    with pytest.raises(InvalidInput, match="needs run, step and layer"):
        sap.attention_map(model, run, 0)


def test_what_the_run_does_not_have(captured):
    model, run = captured
    for arguments in ((99, 0, 0), (0, 3, 0), (0, 0, 4), (-1, 0, 0), (0, 0, 0, 2)):
        with pytest.raises(InvalidInput, match="the run has"):
            sap.attention_map(model, run, *arguments)
    with pytest.raises(InvalidInput, match="run was made with"):
        sap.attention_map(model, run.trajectory.isel(head=slice(0, 2)), 0, 0, 0)
