"""The capture verb: what it stores is what the model computed, step by step, and stopping early keeps it."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import sap_core as sap
from sap_core.errors import Cancelled, InvalidInput, OperationFailed
from sap_core.models.loading import load_model
from sap_core.samplers.canvas import build_canvas
from sap_core.samplers.dispatch import sample
from sap_core.specs import SamplingOptions
from sap_core.trajectory.accuracy import sampling_note

PROMPTS = ["w1 w2 w3", "w4 w5"]


@pytest.fixture(scope="module", autouse=True)
def runs_root(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAP_RUNS", str(tmp_path_factory.mktemp("runs")))
        yield


@pytest.fixture(scope="module")
def diffusion(tiny_diffusion):
    return load_model(str(tiny_diffusion))


@pytest.fixture(scope="module")
def causal(tiny_causal):
    return load_model(str(tiny_causal))


@pytest.fixture(scope="module")
def reports():
    return []


@pytest.fixture(scope="module")
def diffusion_run(diffusion, reports, runs_root):
    return sap.capture(diffusion, prompts=PROMPTS, length=24, steps=5, seed=3, progress=reports.append)


@pytest.fixture(scope="module")
def causal_run(causal, runs_root):
    return sap.capture(causal, prompts=PROMPTS, length=20, steps=6)


def eager_maps(model, tokens):
    """(layer, head, S, S) of one text (S,), from a second model with eager attention."""
    twin = AutoModelForCausalLM.from_pretrained(model.info.path, attn_implementation="eager").eval()
    with torch.no_grad():
        maps = twin(input_ids=torch.as_tensor(tokens, dtype=torch.long)[None], output_attentions=True).attentions
    return torch.cat(maps).double().numpy()


def test_every_diffusion_step_is_what_eager_attention_gives(diffusion, diffusion_run):
    for trajectory in diffusion_run.trajectories:
        assert dict(trajectory.sizes) == {"step": 5, "layer": 3, "head": 4, "position": 24}
        for step in range(5):
            maps = eager_maps(diffusion, trajectory["token"].values[step])
            masked = trajectory["masked"].values[step]
            apart = np.abs(np.arange(24)[:, None] - np.arange(24))
            exact = {
                "received": maps.mean(2),
                "received_masked": (maps * masked[:, None]).sum(2) / 24,
                "entropy": -(maps * np.log(maps)).sum(3).mean(2),
                "distance": (maps * apart).sum(3).mean(2),
            }
            for name, expected in exact.items():
                np.testing.assert_allclose(trajectory[name].values[step], expected, atol=1e-6, rtol=1e-6, err_msg=name)


def test_the_text_is_that_of_an_uncaptured_run(diffusion, diffusion_run):
    spec = SamplingOptions(length=24, steps=5, seed=3)
    steps = list(sample(diffusion, build_canvas(diffusion, PROMPTS, 24), spec))
    for i, trajectory in enumerate(diffusion_run.trajectories):
        for index, step in enumerate(steps):
            arrays = {"token": step.tokens, "next_token": step.next_tokens, "masked": step.masked}
            for name, expected in {**arrays, "accepted": step.accepted, "confidence": step.confidence}.items():
                np.testing.assert_array_equal(trajectory[name].values[index], expected[i].numpy(), err_msg=name)
    assert diffusion_run.result["texts"] == [diffusion.decode(row.tolist()) for row in steps[-1].next_tokens]
    assert diffusion_run.text == diffusion_run.result["texts"][0]


def test_a_trajectory_says_what_it_is(diffusion, diffusion_run, tiny_diffusion):
    first, second = diffusion_run.trajectories
    assert first.attrs["objective"] == "masked_diffusion" and first.attrs["model"] == str(tiny_diffusion)
    assert (first.attrs["prompt_length"], second.attrs["prompt_length"]) == (3, 2)
    assert first.attrs["mask_token_id"] == 2 and first.attrs["steps_total"] == 5
    assert first["prompt"].values.tolist() == [True] * 3 + [False] * 21
    pieces = json.loads(second.attrs["pieces"])
    assert pieces["2"] == "<mask>" and pieces["8"] == "w4"
    assert set(pieces) >= {str(token) for token in np.unique(second["next_token"])}


def test_progress_tells_text_masks_and_pace(diffusion_run, reports):
    assert [(report.done, report.total) for report in reports] == [(i, 5) for i in range(1, 6)]
    masked = [report.data["masked"] for report in reports]
    assert masked == sorted(masked, reverse=True) and masked[-1] == 0
    assert reports[0].data["text"].startswith("w1 w2 w3 ") and reports[0].data["text"].count("▢") == masked[0]
    assert reports[-1].data["text"] == diffusion_run.text
    assert all(report.data["step_seconds"] > 0 for report in reports)


def test_batched_and_single_agree(diffusion, diffusion_run):
    alone = sap.capture(diffusion, PROMPTS[0], length=24, steps=5, seed=3).trajectory
    np.testing.assert_array_equal(alone["token"], diffusion_run.trajectory["token"])
    np.testing.assert_allclose(alone["received"], diffusion_run.trajectory["received"], atol=1e-6)


def test_guidance_records_the_conditional_pass_only(diffusion):
    trajectory = sap.capture(diffusion, PROMPTS[0], length=16, steps=3, guidance=1.5).trajectory
    maps = eager_maps(diffusion, trajectory["token"].values[1])
    np.testing.assert_allclose(trajectory["received"].values[1], maps.mean(2), atol=1e-6)


def test_one_causal_pass_equals_a_pass_per_step(causal, causal_run):
    for trajectory, prompt in zip(causal_run.trajectories, (3, 2), strict=True):
        steps = trajectory.sizes["step"]
        assert trajectory.sizes["position"] == prompt + steps
        for step in range(steps):
            size = prompt + step
            maps = eager_maps(causal, trajectory["token"].values[step, :size])
            found = trajectory["received"].values[step]
            np.testing.assert_allclose(found[..., :size], maps.mean(2), atol=1e-6, rtol=1e-6)
            assert (found[..., size:] == 0).all()
            apart = np.abs(np.arange(size)[:, None] - np.arange(size))
            distance = (maps * apart).sum(3).mean(2)
            np.testing.assert_allclose(trajectory["distance"].values[step], distance, atol=1e-6, rtol=1e-6)
            entropy = -(maps * np.log(np.where(maps > 0, maps, 1))).sum(3).mean(2)
            np.testing.assert_allclose(trajectory["entropy"].values[step], entropy, atol=1e-6, rtol=1e-6)
            assert trajectory["masked"].values[step].tolist() == [False] * size + [True] * (steps - step)
        assert (trajectory["received_masked"] == 0).all()


def test_causal_text_is_greedy_generation(causal, causal_run):
    ids = torch.tensor([causal.encode(PROMPTS[0])])
    steps = causal_run.trajectory.sizes["step"]
    written = causal.module.generate(ids, max_new_tokens=steps, do_sample=False)[0].tolist()
    found = causal_run.trajectory["next_token"].values[-1].tolist()
    assert found[: len(written)] == written
    assert causal_run.result["steps_planned"] == 6 and causal_run.result["steps"] == steps


@pytest.mark.parametrize("name", ["diffusion", "causal"])
def test_cancelling_keeps_the_steps_so_far(name, request, tmp_path):
    model = request.getfixturevalue(name)

    def stop(report):
        if report.done == 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        sap.capture(model, PROMPTS[0], length=16, steps=6, out=tmp_path / "run", progress=stop)
    run = sap.open_run(tmp_path / "run")
    assert run.state == "cancelled" and run.result["steps"] == 2
    assert run.trajectory.sizes["step"] == 2 and np.isfinite(run.trajectory["received"]).all()
    assert run.text.startswith(PROMPTS[0])


def test_a_failure_in_the_middle_leaves_a_failed_run(diffusion, tmp_path, monkeypatch):
    monkeypatch.setattr(
        diffusion.module.model.layers[0].self_attn, "forward", lambda hidden_states, **_: (hidden_states, None)
    )
    with pytest.raises(OperationFailed, match="did not report"):
        sap.capture(diffusion, PROMPTS[0], length=16, steps=2, out=tmp_path / "run")
    assert sap.open_run(tmp_path / "run").state == "failed"


def test_refused_input_writes_nothing(diffusion, causal, tiny_diffusion, tmp_path):
    out = tmp_path / "run"
    refused = [
        (diffusion, {"length": 65}),
        (str(tiny_diffusion), {"length": 65}),
        (diffusion, {"length": 16, "steps": 14}),
        (diffusion, {"length": 2}),
        (causal, {"length": 16, "guidance": 1.0}),
        (str(tiny_diffusion), {"length": 16, "sampler": "autoregressive"}),
        (str(tmp_path / "nowhere"), {"length": 16}),
        (diffusion, {"length": 16, "prompts": PROMPTS}),
    ]
    for model, fields in refused:
        with pytest.raises(InvalidInput):
            sap.capture(model, PROMPTS[0], out=out, **fields)
        assert not out.exists(), fields
    out.mkdir()
    with pytest.raises(InvalidInput, match="exists already"):
        sap.capture(str(tmp_path / "nowhere"), PROMPTS[0], out=out)


def test_a_model_given_by_name_is_loaded(tiny_diffusion, diffusion_run):
    stages = []
    run = sap.capture(
        str(tiny_diffusion),
        prompts=PROMPTS,
        length=24,
        steps=5,
        seed=3,
        progress=lambda report: stages.append(report.stage),
    )
    assert stages[0] == "load" and set(stages[1:]) == {"denoise"}
    np.testing.assert_array_equal(run.trajectory["received"], diffusion_run.trajectory["received"])


def test_runs_feed_the_analyses(diffusion_run, causal_run):
    assert len(sap.rank_heads(diffusion_run)) == 12
    json.dumps(sap.sink_summary(causal_run, rule="rate"), allow_nan=False)
    assert sap.compare_runs(causal_run, diffusion_run).names[0]


def test_sampled_queries_come_with_their_measured_error(diffusion, diffusion_run):
    run = sap.capture(diffusion, prompts=PROMPTS, length=24, steps=5, seed=3, query_stride=3)
    exact = np.stack([trajectory["received"].values[0] for trajectory in diffusion_run.trajectories])
    found = np.stack([trajectory["received"].values[0] for trajectory in run.trajectories])
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    error = run.result["query_sampling"]  # of the first step, the only one of five that is checked
    assert error["stride"] == 3 and error["checked_steps"] == 1
    assert error["largest"] == pytest.approx(np.abs(found - exact).max(), rel=1e-3)
    assert error["displaced"] == pytest.approx(np.abs(found - exact).sum(-1).mean() / 2, rel=1e-3)
    assert error["dominant_agreement"] == pytest.approx((found.argmax(-1) == exact.argmax(-1)).mean(), abs=1e-6)
    assert run.trajectories[1].attrs["query_sampling"] == error
    assert f"largest difference of a share was {error['largest']:.2g}" in sampling_note(run.trajectory)
    assert "(1 step)" in sampling_note(run.trajectory) and sampling_note(diffusion_run.trajectory) is None
    np.testing.assert_array_equal(run.trajectory["token"], diffusion_run.trajectory["token"])


def test_sampling_queries_of_a_causal_model_is_refused(causal, tiny_causal, tmp_path):
    for model in (causal, str(tiny_causal)):
        with pytest.raises(InvalidInput, match="leave it at 1"):
            sap.capture(model, PROMPTS[0], length=16, query_stride=2, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_half_precision_on_disk(diffusion, diffusion_run):
    run = sap.capture(diffusion, prompts=PROMPTS, length=24, steps=5, seed=3, precision="float16")
    found, exact = run.trajectory["received"].values, diffusion_run.trajectory["received"].values
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, rtol=2**-11 + 1e-6, atol=3e-8)
