"""DiffusionGemma's decoder attention is recorded at its place among all positions, and recording changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from tiny_models import save_word_tokenizer

from sap_core.attention.recorder import record_attention
from sap_core.capturing.api import capture
from sap_core.capturing.attention_map import attention_map
from sap_core.errors import InvalidInput
from sap_core.models.loading import load_model
from sap_core.samplers.canvas import build_canvas
from sap_core.samplers.dispatch import sample
from sap_core.specs import SamplingOptions

pytestmark = pytest.mark.skipif(
    not hasattr(transformers, "DiffusionGemmaForBlockDiffusion"), reason="this transformers has no DiffusionGemma"
)
PROMPTS = ["w1 w2 w3 w4 w5", "w6 w7 w8 w9 w10"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("diffusion-gemma")
    torch.manual_seed(0)
    text = {
        "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "global_head_dim": 8, "num_global_key_value_heads": 2,
        "max_position_embeddings": 128, "sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"],
        "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 16, "pad_token_id": 0, "eos_token_id": 1,
        "bos_token_id": 3,
    }  # fmt: skip
    vision = {
        "model_type": "gemma4_vision", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8, "position_embedding_size": 16,
    }  # fmt: skip
    config = transformers.DiffusionGemmaConfig(text_config=text, vision_config=vision, canvas_length=8)
    transformers.DiffusionGemmaForBlockDiffusion(config).save_pretrained(path)
    save_word_tokenizer(path, mask=False)
    return load_model(str(path), device="cpu")


def steps_of(model):
    spec = SamplingOptions.build(length=21, steps=6, seed=1)
    return sample(model, build_canvas(model, PROMPTS, 21), spec)


@pytest.mark.slow
def test_recorded_rows_are_those_of_the_canvas(model) -> None:
    plain = [step.next_tokens for step in steps_of(model)]
    received = []
    with record_attention(model) as recorder:
        for number, step in enumerate(steps_of(model)):
            stats = recorder.collect()
            assert torch.equal(step.next_tokens, plain[number])
            stop = 13 if number < 3 else 21
            assert stats.received.shape == (2, 2, 4, 21)
            torch.testing.assert_close(stats.received.sum(-1), torch.ones(2, 2, 4))
            assert not stats.received[..., stop:].any()
            received.append(stats.received)
    # In the second canvas the full layer still sees the first token, the sliding one does not.
    assert received[3][:, 1, :, 0].all() and not received[3][:, 0, :, 0].any()


def test_recording_changes_no_logit(model) -> None:
    ids = torch.randint(3, 90, (2, 14), generator=torch.Generator().manual_seed(0))
    plain = model.logits(ids)
    with record_attention(model) as recorder:
        assert torch.equal(model.logits(ids), plain)
        received = recorder.collect().received
    assert received.shape == (2, 2, 4, 14)
    torch.testing.assert_close(received.sum(-1), torch.ones(2, 2, 4))


def test_padding_before_a_shorter_prompt_receives_nothing(model) -> None:
    prompts = [PROMPTS[0], "w6 w7"]
    spec = SamplingOptions.build(length=13, steps=3, seed=1)
    with record_attention(model) as recorder:
        found = []
        for step in sample(model, build_canvas(model, prompts, 13), spec):
            found.append((recorder.collect().received, step.masked))
    for received, masked in found:
        torch.testing.assert_close(received.sum(-1), torch.ones(2, 2, 4))
        assert not received[1, :, :, :3].any() and received[0, 1, :, :3].all()
        assert not masked[:, :5].any()


def test_a_run_holds_every_position(model, tmp_path: Path) -> None:
    run = capture(model, prompts=PROMPTS, length=21, steps=6, seed=1, out=tmp_path / "run")
    found = run.trajectory
    assert dict(found.sizes) == {"step": 6, "layer": 2, "head": 4, "position": 21}
    assert found["prompt"].values.tolist() == [True] * 5 + [False] * 16
    with pytest.raises(InvalidInput, match="maps can't be computed again"):
        attention_map(model, run, 0, 0)
