"""Conventions are declared, known or given, and the loaded model is held to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import save_tiny_llama, save_word_tokenizer

from sap_core.errors import InvalidInput, ModelProblem
from sap_core.models.inspection import inspect_model
from sap_core.models.loading import load_model

TOKENS = torch.randint(3, 96, (1, 8), generator=torch.Generator().manual_seed(0))


def save(folder: Path, kind: str, **fields: Any) -> Path:
    """A tiny random model of a decoder class, its attention far from flat."""
    import transformers

    sizes = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "max_position_embeddings": 64, "initializer_range": 0.3}
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**sizes, pad_token_id=0, bos_token_id=3, eos_token_id=1, **fields)
    getattr(transformers, f"{kind}ForCausalLM")(config).save_pretrained(folder)
    return folder


def edit(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


def first_row_sees_the_last_token(model: Any) -> bool:
    other = TOKENS.clone()
    other[0, -1] = (other[0, -1] + 1) % 90 + 3
    return bool((model.logits(TOKENS) - model.logits(other))[0, 0].abs().max() > 1e-5)


@pytest.mark.parametrize("kind", ["Gemma", "Phi3", "GPTNeoX", "Olmo2", "Granite", "Cohere"])
def test_is_causal_false_is_honoured_beyond_llama(tmp_path: Path, kind: str):
    more = {"head_dim": 8, "num_key_value_heads": 2} if kind == "Gemma" else {}
    folder = save(tmp_path / "model", kind, is_causal=False, **more)
    save_word_tokenizer(folder, mask=True)
    model = load_model(str(folder))
    assert model.is_diffusion
    assert model.info.conventions["causal"].known == "declared"
    assert first_row_sees_the_last_token(model)


def test_a_class_that_is_always_causal_is_refused_before_its_weights_are_read(tmp_path: Path):
    folder = save(tmp_path / "model", "StableLm", is_causal=False, num_key_value_heads=2)
    save_word_tokenizer(folder, mask=True)
    with pytest.raises(ModelProblem, match="lets no token see later ones"):
        inspect_model(str(folder))


def test_an_unknown_class_that_is_always_causal_is_found_by_its_output(tmp_path: Path, monkeypatch):
    from sap_core.models.families import native_diffusion

    monkeypatch.setattr(native_diffusion, "CAUSAL_ONLY", ())
    folder = save(tmp_path / "model", "StableLm", is_causal=False, num_key_value_heads=2)
    save_word_tokenizer(folder, mask=True)
    with pytest.raises(ModelProblem, match=r"bidirectional by config.json.*its first row sees no later token"):
        load_model(str(folder))


def test_a_mask_token_on_a_causal_config_asks(tmp_path: Path):
    folder = save_tiny_llama(tmp_path / "model", causal=True)
    save_word_tokenizer(folder, mask=True)
    with pytest.raises(ModelProblem, match="--bidirectional if it denoises, --causal if it writes"):
        inspect_model(str(folder))
    assert inspect_model(str(folder), causal=True).objective == "autoregressive"
    info = inspect_model(str(folder), causal=False)
    assert (info.objective, info.mask_token_id) == ("masked_diffusion", 2)
    assert info.conventions["causal"].known == "given"
    edit(folder, is_causal=True)
    assert inspect_model(str(folder)).conventions["causal"].known == "declared"


def test_a_given_mask_token_asks_as_well(tmp_path: Path):
    folder = save_tiny_llama(tmp_path / "model", causal=True)
    with pytest.raises(ModelProblem, match="--bidirectional"):
        inspect_model(str(folder), mask_token_id=2)


def test_given_conventions_change_what_is_computed(tmp_path: Path):
    folder = save_tiny_llama(tmp_path / "model", causal=False)
    plain = load_model(str(folder))
    shifted = load_model(str(folder), shift_logits=True)
    assert torch.equal(shifted.logits(TOKENS)[:, 1:], plain.logits(TOKENS)[:, :-1])
    blocks = load_model(str(folder), block_size=4)
    assert blocks.info.block_size == 4
    assert blocks.info.samplers[0] == "low_confidence_dynamic"
    assert not first_row_sees_the_last_token(blocks)
    assert first_row_sees_the_last_token(plain)


def test_an_export_declares_what_was_given(tmp_path: Path):
    folder = save_tiny_llama(tmp_path / "model", causal=True)
    save_word_tokenizer(folder, mask=True)
    model = load_model(str(folder), causal=False, shift_logits=True, block_size=4)
    model.save(tmp_path / "copy")
    again = load_model(str(tmp_path / "copy"))
    assert again.info.block_size == 4
    assert {c.known for c in again.info.conventions.values()} == {"declared"}
    assert torch.equal(again.logits(TOKENS), model.logits(TOKENS))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"shift_logits": False}, "--no-shift-logits belongs to models that denoise"),
        ({"block_size": 4}, "--block-size belongs to models that denoise"),
    ],
)
def test_what_contradicts_a_causal_model_is_refused(tmp_path: Path, given: dict[str, Any], message: str):
    folder = save_tiny_llama(tmp_path / "model", causal=True)
    with pytest.raises(InvalidInput, match=message):
        inspect_model(str(folder), **given)


def test_a_family_that_is_bidirectional_stays_so(tmp_path: Path):
    folder = save_tiny_llama(tmp_path / "model", causal=False)
    edit(folder, model_type="a2d-llama")
    with pytest.raises(ModelProblem, match="which is bidirectional; leave --causal out"):
        inspect_model(str(folder), causal=True)


@pytest.mark.parametrize(("name", "value"), [("sap_shift_logits", "yes"), ("sap_block_size", -1), ("is_causal", 3)])
def test_a_senseless_declaration_is_named(tmp_path: Path, name: str, value: Any):
    folder = save_tiny_llama(tmp_path / "model", causal=False)
    edit(folder, **{name: value})
    with pytest.raises(ModelProblem, match=f"config.json says {name}="):
        inspect_model(str(folder))


def test_code_of_its_own_without_conventions_asks(tmp_path: Path):
    folder = save_tiny_llama(tmp_path / "model", causal=False)
    edit(folder, model_type="foreign", auto_map={"AutoModelForCausalLM": "modeling.Model"}, is_causal=None)
    with pytest.raises(ModelProblem, match=r"--causal or --bidirectional, --shift-logits or .*, --block-size 0"):
        inspect_model(str(folder))
    info = inspect_model(str(folder), causal=False, shift_logits=True, block_size=0)
    assert (info.family, info.shift_logits) == ("remote-diffusion", True)
    assert inspect_model(str(folder), causal=True).family == "remote-causal"


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path):
    from safetensors.torch import load_file, save_file

    folder = save_tiny_llama(tmp_path / "model", causal=False)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelProblem, match=r"not finite|NaN"):
        load_model(str(folder))
