"""Models that are not one eager module on one device: compiled, or with layers that come from memory or disk."""

import pytest
import torch
from accelerate import cpu_offload, disk_offload, dispatch_model
from transformers import AutoModelForCausalLM

import sap_core as sap
from sap_core.attention.recorder import record_attention
from sap_core.errors import OperationFailed
from sap_core.models.loading import load_model

pytestmark = pytest.mark.slow

NAMES = ("received", "received_masked", "entropy", "distance")


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder).eval().requires_grad_(False)


def recorded(model, tokens, mask):
    with record_attention(model) as recorder:
        recorder.masked = tokens == 2
        logits = model(input_ids=tokens, attention_mask=mask, use_cache=False).logits
        return logits, recorder.collect()


@pytest.fixture(scope="module")
def batch():
    torch.manual_seed(0)
    tokens = torch.randint(2, 96, (2, 20))
    padding = torch.ones_like(tokens)
    padding[1, :4] = 0
    return tokens, padding


@pytest.fixture(scope="module")
def plain(tiny_diffusion, batch):
    return recorded(load(tiny_diffusion), *batch)


def whole(model, backend):
    return torch.compile(model, backend=backend)


def layers(model, backend):
    for layer in model.model.layers:
        layer.compile(backend=backend)
    return model


def its_forward(model, backend):
    model.forward = torch.compile(model.forward, backend=backend)
    return model


@pytest.mark.parametrize("compile", [whole, layers, its_forward])
def test_a_compiled_model_is_recorded_by_its_own_code(compile, tiny_diffusion, batch, plain):
    runs = []

    def backend(graph, inputs):  # what matters is who runs: compiled code counts, and does the same
        def run(*values):
            runs.append(graph)
            return graph.forward(*values)

        return run

    torch._dynamo.reset()
    model = compile(load(tiny_diffusion), backend)
    tokens, padding = batch
    model(input_ids=tokens, attention_mask=padding, use_cache=False)
    before = len(runs)
    logits, stats = recorded(model, tokens, padding)
    assert len(runs) == before > 0 and torch.equal(logits, plain[0])
    for name in NAMES:
        assert torch.equal(getattr(stats, name), getattr(plain[1], name)), name
    model(input_ids=tokens, attention_mask=padding, use_cache=False)
    assert len(runs) == 2 * before, "afterwards its compiled code runs again"


def test_a_compiled_model_is_captured_and_recorded_once_at_a_time(tiny_diffusion, tmp_path):
    fields = {"prompt": "w1 w2 w3", "length": 16, "steps": 3, "seed": 1}
    model = load_model(str(tiny_diffusion))
    usual = sap.capture(model, **fields, out=tmp_path / "usual")
    inner, model.module = model.module, torch.compile(model.module, backend="eager")
    run = sap.capture(model, **fields, out=tmp_path / "compiled")
    assert run.trajectory.drop_attrs().equals(usual.trajectory.drop_attrs())
    with record_attention(model), pytest.raises(OperationFailed, match="already"), record_attention(inner):
        pass


def from_memory(model, folder):
    return cpu_offload(model, execution_device=torch.device("cpu"))


def from_disk(model, folder):
    disk_offload(model, folder, execution_device=torch.device("cpu"))
    return model


def by_device_map(model, folder):
    places = {"model.layers.1": "disk", "model.layers.2": "disk"}
    rest = ("model.embed_tokens", "model.layers.0", "model.norm", "model.rotary_emb", "lm_head")
    return dispatch_model(model, {**dict.fromkeys(rest, "cpu"), **places}, main_device="cpu", offload_dir=folder)


@pytest.mark.parametrize("place", [from_memory, from_disk, by_device_map])
def test_offloaded_layers_are_recorded(place, tiny_diffusion, batch, plain, tmp_path):
    model = place(load(tiny_diffusion), str(tmp_path))
    assert any(weight.device.type == "meta" for weight in model.parameters()), "something is elsewhere"
    tokens, padding = batch
    unrecorded = model(input_ids=tokens, attention_mask=padding, use_cache=False).logits
    logits, stats = recorded(model, tokens, padding)
    assert torch.equal(logits, unrecorded) and torch.equal(logits, plain[0])
    for name in NAMES:
        assert torch.equal(getattr(stats, name), getattr(plain[1], name)), name
    assert any(weight.device.type == "meta" for weight in model.parameters()), "and stays there"


@pytest.mark.skipif(torch.cuda.device_count() < 1, reason="needs a CUDA GPU")
def test_layers_on_a_gpu_and_the_cpu_are_recorded_where_they_run(tiny_diffusion, batch, plain):
    places = {"model.layers.0": "cpu", "model.layers.1": 0, "model.layers.2": 0}
    rest = dict.fromkeys(("model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"), 0)
    model = AutoModelForCausalLM.from_pretrained(tiny_diffusion, device_map={**rest, **places}).eval()
    tokens, padding = batch
    with torch.no_grad():
        _, stats = recorded(model, tokens.cuda(), padding.cuda())
    for name in NAMES:
        torch.testing.assert_close(getattr(stats, name), getattr(plain[1], name), atol=1e-4, rtol=1e-4, msg=name)
