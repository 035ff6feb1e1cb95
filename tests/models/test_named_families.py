"""Families that are a config away from a native class, and those that are refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from golden_families import GOLDEN as ROOT
from golden_families import MASK, expected
from safetensors.torch import load_file, save_file
from tiny_models import save_tiny_llama, save_word_tokenizer

from sap_core.capturing.api import capture
from sap_core.capturing.attention_map import attention_map
from sap_core.errors import ModelProblem
from sap_core.models.family_registry import recognise
from sap_core.models.inspection import inspect_model
from sap_core.models.loading import load_model
from sap_core.pruning.scoring.inputs import Inputs, noised_rows
from sap_core.samplers.canvas import canvas_of_ids
from sap_core.samplers.dispatch import sample
from sap_core.specs import SamplingOptions

IDS = torch.randint(6, 96, (2, 12), generator=torch.Generator().manual_seed(0))


def test_illada_is_a_bidirectional_llama_with_mask_5(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=True, initializer_range=0.2,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text()) | {"model_type": "illada"}
    (tmp_path / "config.json").write_text(json.dumps(stored))
    save_word_tokenizer(tmp_path, mask=False)
    model = load_model(str(tmp_path), device="cpu")
    assert (model.info.family, model.check_masked()) == ("illada", 5)
    config.is_causal = False
    stock = transformers.LlamaForCausalLM.from_pretrained(tmp_path, config=config).eval()
    with torch.no_grad():
        torch.testing.assert_close(model.logits(IDS), stock(IDS).logits, atol=1e-5, rtol=1e-5)
    model.save(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text()) == stored


def test_nemotron_is_refused_by_name() -> None:
    family = recognise({"model_type": "nemotron_labs_diffusion", "auto_map": {"AutoModel": "a.B"}})
    with pytest.raises(ModelProblem, match=r"Nemotron-Labs-Diffusion can't be run here"):
        family.native_config({})


@pytest.mark.parametrize("whole", [False, True])
def test_an_adapter_is_refused_as_one(whole: bool, tmp_path: Path) -> None:
    if whole:
        save_tiny_llama(tmp_path, causal=False)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "some/base"}')
    with pytest.raises(ModelProblem, match=r"holds an adapter .* give its base model, and this folder as adapter"):
        inspect_model(str(tmp_path))


def test_a2d_is_told_its_blocks_by_the_user() -> None:
    """As published, whose folders do not say block_size: the same logits and text as where config.json does."""
    folder, stored = ROOT / "families" / "a2d", expected("a2d-blocks")
    model = load_model(str(folder / "checkpoint"), device="cpu", block_size=4)
    found = model.logits(stored["input_ids"].long())
    torch.testing.assert_close(found, stored["logits_bd3lm_block4"], atol=1e-4, rtol=0)
    prompt, published = stored["prompt"][0].tolist(), stored["generation.bd_prompt11"][0, 1:].tolist()
    canvas = canvas_of_ids(model, [prompt], len(published))
    *_, last = sample(model, canvas, SamplingOptions.build(length=len(published), sampler="low_confidence_static"))
    assert last.next_tokens[0].tolist() == published


def test_llada2_and_open_dllm_are_told_by_the_user_too() -> None:
    for name, logits, given in (
        ("llada2", "logits_block4", {"block_size": 4}),
        ("open_dllm", "logits", {"causal": False, "shift_logits": True}),
    ):
        stored = expected(name)
        model = load_model(str(ROOT / "families" / name / "checkpoint"), device="cpu", **given)
        found = model.logits(stored["input_ids"].long())
        torch.testing.assert_close(found, stored[logits], atol=1e-4, rtol=0)


def test_dreams_noise_is_that_of_its_own_script() -> None:
    """A level drawn for each pass; first and last token never masked (arXiv 2602.17664, main script for Dream)."""
    model = load_model(str(ROOT / "families" / "dream" / "checkpoint"), device="cpu")
    tokens = torch.randint(0, 400, (3, 20), generator=torch.Generator().manual_seed(1))
    found = noised_rows(model, tokens, Inputs("noised", "each", 10, seed=4))
    torch.manual_seed(4)
    for sample_ in range(3):
        for step in range(10):
            t = (torch.rand(1) + torch.arange(1) / 1) % 1
            mask = torch.rand_like(tokens[:1].float()) < ((1.0 - 1e-3) * t + 1e-3)[:, None].repeat(1, 20)
            mask[:, 0] = mask[:, -1] = False
            assert torch.equal(found[sample_, step], torch.where(mask, MASK, tokens[sample_ : sample_ + 1])[0])
    even = noised_rows(model, tokens, Inputs("noised", "lasting", 10, seed=4))
    assert (even[:, -1] == MASK).all()


@pytest.mark.parametrize("kind", ["GPT2", "Llama"])
@pytest.mark.parametrize("head", [True, False])
def test_diffugpt_and_diffullama_are_told_by_their_names(kind: str, head: bool, tmp_path: Path) -> None:
    """Inner model as denoise_model, embeddings apart; with and without the tied head stored twice."""
    torch.manual_seed(0)
    if kind == "GPT2":
        config = transformers.GPT2Config(
            vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=3, eos_token_id=1,
            initializer_range=0.2,
        )  # fmt: skip
        inner, rows = "transformer.", "transformer.wte."
    else:
        config = transformers.LlamaConfig(
            vocab_size=96, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=64, tie_word_embeddings=not head, initializer_range=0.2,
        )  # fmt: skip
        inner, rows = "model.", "model.embed_tokens."
    dense = getattr(transformers, "GPT2LMHeadModel" if kind == "GPT2" else "LlamaForCausalLM")(config).eval()
    tensors = {
        key.replace(rows, "embed_tokens.")
        if key.startswith(rows)
        else key.replace(inner, "denoise_model."): value.clone()
        for key, value in dense.state_dict().items()
        if head or not key.startswith("lm_head")
    }
    config.save_pretrained(tmp_path)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    save_word_tokenizer(tmp_path)
    model = load_model(str(tmp_path), device="cpu")
    assert (model.info.family, model.info.shift_logits) == ("diffugpt" if kind == "GPT2" else "diffullama", True)
    config.is_causal = False
    stock = type(dense)(config).eval()
    stock.load_state_dict(dense.state_dict())
    with torch.no_grad():
        rows_ = stock(IDS).logits
    expected_ = torch.cat([rows_[:, :1], rows_[:, :-1]], 1)
    torch.testing.assert_close(model.logits(IDS), expected_, atol=1e-5, rtol=1e-5)
    model.save(tmp_path / "again")
    again = load_file(tmp_path / "again" / "model.safetensors")
    assert again.keys() == tensors.keys() and all(torch.equal(again[key], tensors[key]) for key in tensors)
    assert load_model(str(tmp_path / "again"), device="cpu").info.family == model.info.family


def test_a_map_drawn_again_has_the_blocks_of_the_capture(tmp_path: Path) -> None:
    """Blocks of A2D count from the end of the prompt, also when one map is computed again from a run."""
    model = load_model(str(ROOT / "families" / "a2d" / "checkpoint"), device="cpu", block_size=4)
    run = capture(model, prompt="w1 w2 w3 w4 w5", length=13, out=tmp_path / "run")
    step, layer, head = 2, 1, 3
    drawn = attention_map(model, run, step=step, layer=layer, head=head)
    stored = run.trajectory["received"].sel(layer=layer).isel(step=step, head=head).values
    torch.testing.assert_close(torch.tensor(drawn.mean(0)), torch.tensor(stored), atol=1e-5, rtol=1e-4)
    assert drawn[4, 5] == 0 and drawn[5, 8] > 0  # the prompt's last token sees no answer; a block sees itself
