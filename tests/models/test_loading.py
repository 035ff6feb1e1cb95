"""Loaded models compute what the native class computes, and saving gives back what was there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from chosen import mostly_slow
from safetensors.torch import load_file, safe_open
from tiny_models import save_word_tokenizer

from sap_core.errors import ModelProblem
from sap_core.models.loading import load_model
from sap_core.samplers.canvas import canvas_of_ids
from sap_core.samplers.dispatch import sample
from sap_core.specs import SamplingOptions

IDS = torch.randint(3, 96, (2, 12), generator=torch.Generator().manual_seed(0))


def test_llada_forward_equals_its_own_code(golden: Path) -> None:
    stored = load_file(golden / "forward.safetensors")
    logits = load_model(str(golden / "tiny-llada"), device="cpu").logits(stored["input_ids"])
    torch.testing.assert_close(logits, stored["logits"], atol=2e-6, rtol=0)


def test_a_diffusion_model_sees_both_ways(tiny_diffusion: Path, tiny_causal: Path) -> None:
    later = IDS.clone()
    later[:, -1] = 5
    both, left = load_model(str(tiny_diffusion), device="cpu"), load_model(str(tiny_causal), device="cpu")
    assert not torch.equal(both.logits(IDS)[:, 0], both.logits(later)[:, 0])
    assert torch.equal(left.logits(IDS)[:, 0], left.logits(later)[:, 0])


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(tiny_diffusion: Path, tiny_causal: Path, side: str) -> None:
    for folder in (tiny_diffusion, tiny_causal):
        model = load_model(str(folder), device="cpu")
        pad, ones = torch.zeros(2, 3, dtype=torch.long), torch.ones_like(IDS)
        parts = ([pad, IDS], [pad, ones]) if side == "left" else ([IDS, pad], [ones, pad])
        padded = model.logits(torch.cat(parts[0], 1), torch.cat(parts[1], 1))
        valid = padded[:, 3:] if side == "left" else padded[:, :-3]
        torch.testing.assert_close(valid, model.logits(IDS), atol=2e-5, rtol=1e-4)


def test_parts_are_named_and_shaped(tiny_causal: Path) -> None:
    model = load_model(str(tiny_causal), device="cpu")
    assert len(model.blocks) == len(model.attentions) == 3
    assert [module.layer_idx for module in model.attentions] == [0, 1, 2]
    names = [matrix.name for matrix in model.info.matrices if matrix.layer == 1]
    assert list(model.linears(1)) == names
    assert model.output_projection(1) is model.linears(1)["model.layers.1.self_attn.o_proj"]
    assert not model.module.training and not any(p.requires_grad for p in model.module.parameters())


def test_a_clone_is_apart(tiny_causal: Path) -> None:
    model = load_model(str(tiny_causal), device="cpu")
    before, twin = model.logits(IDS), model.clone()
    twin.output_projection(0).weight.zero_()
    assert torch.equal(model.logits(IDS), before) and not torch.equal(twin.logits(IDS), before)


def test_observed_is_false_only_inside(tiny_diffusion: Path) -> None:
    model = load_model(str(tiny_diffusion), device="cpu")
    seen = []
    model.module.register_forward_hook(lambda *_: seen.append(model.observed))
    model.logits(IDS)
    model.logits(IDS, observed=False)
    assert seen == [True, False] and model.observed


def test_text(tiny_causal: Path) -> None:
    model = load_model(str(tiny_causal), device="cpu")
    assert model.encode("w0 w3") == [4, 7]
    assert model.decode([4, 1, 7]) == "w0 w3" and model.piece(1) == "<eos>"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_precision_on_request(tiny_causal: Path, dtype: str, tmp_path: Path) -> None:
    model = load_model(str(tiny_causal), device="cpu", dtype=dtype)
    assert model.dtype == getattr(torch, dtype) and model.logits(IDS).dtype == torch.float32
    model.save(tmp_path / "out")
    saved = json.loads((tmp_path / "out" / "config.json").read_text())
    assert saved["dtype"] == dtype
    again = load_model(str(tmp_path / "out"), device="cpu", dtype=dtype)
    assert torch.equal(again.logits(IDS), model.logits(IDS))


def test_llada_saves_as_llada(golden: Path, tmp_path: Path) -> None:
    source = golden / "tiny-llada"
    model = load_model(str(source), device="cpu").clone()
    model.linears(1)["model.layers.1.mlp.down_proj"].weight[0].zero_()
    model.save(tmp_path)
    assert (tmp_path / "config.json").read_bytes() == (source / "config.json").read_bytes()
    before, after = load_file(source / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert list(before) == list(after)
    changed = [key for key in before if not torch.equal(before[key], after[key])]
    assert changed == ["model.transformer.blocks.1.ff_out.weight"]
    ids = IDS.clamp(max=150)
    assert torch.equal(load_model(str(tmp_path), device="cpu").logits(ids), model.logits(ids))


def test_shards_stay_shards(tiny_causal: Path, tmp_path: Path) -> None:
    source = tmp_path / "sharded"
    transformers.LlamaForCausalLM.from_pretrained(tiny_causal).save_pretrained(source, max_shard_size="30KB")
    files = sorted(path.name for path in source.glob("*.safetensors"))
    assert len(files) > 1
    model = load_model(str(source), device="cpu")
    assert torch.equal(model.logits(IDS), load_model(str(tiny_causal), device="cpu").logits(IDS))
    model.save(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob("*.safetensors")) == files
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == json.loads((source / "model.safetensors.index.json").read_text())["weight_map"]
    assert torch.equal(load_model(str(tmp_path / "out"), device="cpu").logits(IDS), model.logits(IDS))


def test_a_stored_buffer_is_kept(tiny_causal: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    source = Path(shutil.copytree(tiny_causal, tmp_path / "source"))
    tensors = load_file(source / "model.safetensors")
    extra = "model.layers.0.self_attn.rotary_emb.inv_freq"
    save_file({**tensors, extra: torch.arange(4.0)}, source / "model.safetensors", metadata={"format": "pt"})
    load_model(str(source), device="cpu").save(tmp_path / "out")
    with safe_open(tmp_path / "out" / "model.safetensors", framework="pt") as file:
        assert file.get_tensor(extra).tolist() == [0, 1, 2, 3]


SMALL = {"vocab_size": 96, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 1}
SHAPE = {
    **SMALL,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
GROUPED = {**SHAPE, "num_key_value_heads": 2}
CAUSAL = {
    "Qwen2Config": GROUPED,
    "Qwen3Config": {**GROUPED, "head_dim": 8},
    "MistralConfig": GROUPED,
    "Gemma2Config": {**GROUPED, "head_dim": 8},
    "Gemma3TextConfig": {**GROUPED, "head_dim": 8},
    "Phi3Config": SHAPE,
    "PhiConfig": SHAPE,
    "GPT2Config": {**SMALL, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "GPTNeoXConfig": SHAPE,
    "OPTConfig": {
        **SMALL,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "ffn_dim": 64,
        "max_position_embeddings": 64,
        "word_embed_proj_dim": 32,
    },
}


@pytest.mark.parametrize("name", mostly_slow(CAUSAL))
def test_causal_families_load_save_and_load_in_stock_transformers(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = getattr(transformers, name)(**CAUSAL[name])
    stock = transformers.AutoModelForCausalLM.from_config(config).eval()
    stock.save_pretrained(tmp_path / "in")
    save_word_tokenizer(tmp_path / "in")
    model = load_model(str(tmp_path / "in"), device="cpu")
    with torch.no_grad():
        assert torch.equal(model.logits(IDS), stock(IDS).logits)
    kinds = {matrix.kind for matrix in model.info.matrices}
    assert {"o", "down"} <= kinds and "other" not in kinds
    assert len(model.attentions) == len(model.blocks) == 2
    assert model.output_projection(0).in_features == model.info.heads * model.info.head_dim
    model.linears(0)[model.info.matrices[0].name].weight[0].zero_()
    model.save(tmp_path / "out")
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        assert torch.equal(again(IDS).logits, model.logits(IDS))


@pytest.mark.parametrize("name", mostly_slow(CAUSAL))
def test_greedy_text_is_that_of_generate(name: str, tmp_path: Path) -> None:
    """Four settings: one prompt or a padded batch of two, few tokens or many."""
    torch.manual_seed(0)
    stock = transformers.AutoModelForCausalLM.from_config(
        getattr(transformers, name)(**CAUSAL[name] | {"initializer_range": 0.2})
    ).eval()
    stock.save_pretrained(tmp_path)
    save_word_tokenizer(tmp_path)
    model = load_model(str(tmp_path), device="cpu")
    for prompts in ([[9, 33, 51]], [[9, 33, 51, 70], [12, 44]]):
        canvas = canvas_of_ids(model, prompts, 20)
        start = 20 - canvas.fill
        for steps in (4, canvas.fill):
            *_, last = sample(model, canvas, SamplingOptions.build(length=20, steps=steps))
            expected = stock.generate(
                canvas.tokens[:, :start], attention_mask=canvas.attention_mask[:, :start], max_new_tokens=steps,
                do_sample=False, pad_token_id=1,
            )  # fmt: skip
            assert torch.equal(last.next_tokens[:, : expected.shape[1]], expected)


def test_remote_code_is_never_asked_for(
    tiny_causal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """A config that points at code still loads natively; the code is not run and nothing is asked."""
    folder = Path(shutil.copytree(tiny_causal, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text("raise SystemExit(7)\n")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    assert load_model(str(folder), device="cpu").tokenizer is not None
    assert capsys.readouterr().out == ""


def test_a_damaged_tokenizer_is_named(tiny_causal: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_causal, tmp_path / "model"))
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelProblem, match=r"The tokenizer in .* can't be loaded"):
        load_model(str(folder), device="cpu")


def test_a_model_without_a_tokenizer_works_on_ids(golden: Path) -> None:
    model = load_model(str(golden / "tiny-llada"), device="cpu")
    assert model.tokenizer is None and model.piece(7) == "7"
    with pytest.raises(ModelProblem, match="has no tokenizer"):
        model.encode("text")
