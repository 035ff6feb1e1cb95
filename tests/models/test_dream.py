"""Dream loads as a bidirectional Qwen2 whose logits are shifted by one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from tiny_models import save_word_tokenizer

from sap_core.errors import ModelProblem
from sap_core.models.inspection import inspect_model
from sap_core.models.loading import load_model
from sap_core.samplers.canvas import build_canvas
from sap_core.samplers.dispatch import sample
from sap_core.specs import SamplingOptions

IDS = torch.randint(3, 96, (2, 12), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def dream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Dream-format folder: Qwen2 tensors, Dream's own config."""
    folder = tmp_path_factory.mktemp("dream")
    torch.manual_seed(0)
    config = transformers.Qwen2Config(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.2,
        tie_word_embeddings=False,
    )
    transformers.Qwen2ForCausalLM(config).save_pretrained(folder)
    fields = {
        "architectures": ["DreamModel"],
        "auto_map": {"AutoConfig": "configuration_dream.DreamConfig", "AutoModel": "modeling_dream.DreamModel"},
        "model_type": "Dream",
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "mask_token_id": 2,
        "pad_token_id": 0,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "vocab_size": 96,
    }
    (folder / "config.json").write_text(json.dumps(fields))
    save_word_tokenizer(folder)
    return folder


def test_recognised(dream: Path) -> None:
    info = inspect_model(str(dream))
    assert (info.family, info.layers, info.kv_heads, info.mask_token_id) == ("dream", 2, 2, 2)


def test_logits_are_those_of_qwen2_shifted(dream: Path) -> None:
    fields = json.loads((dream / "config.json").read_text())
    config = transformers.Qwen2Config(**{k: v for k, v in fields.items() if k not in ("model_type", "auto_map")})
    config.is_causal = False
    stock = transformers.Qwen2ForCausalLM.from_pretrained(dream, config=config).eval()
    with torch.no_grad():
        raw = stock(IDS).logits
    logits = load_model(str(dream), device="cpu").logits(IDS)
    assert torch.equal(logits[:, 1:], raw[:, :-1]) and torch.equal(logits[:, 0], raw[:, 0])
    later = IDS.clone()
    later[:, -1] = 5
    with torch.no_grad():
        assert not torch.equal(stock(later).logits[:, 0], raw[:, 0])


def test_saves_with_its_own_config(dream: Path, tmp_path: Path) -> None:
    model = load_model(str(dream), device="cpu")
    model.save(tmp_path)
    assert (tmp_path / "config.json").read_bytes() == (dream / "config.json").read_bytes()
    before, after = load_file(dream / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)


@pytest.mark.parametrize("sampler", ["auto", "origin", "maskgit_plus", "topk_margin", "confidence_threshold"])
def test_samples(dream: Path, sampler: str) -> None:
    model = load_model(str(dream), device="cpu")
    spec = SamplingOptions.build(length=16, steps=6, sampler=sampler)
    steps = list(sample(model, build_canvas(model, ["w1 w2", "w3 w4 w5"], 16), spec))
    assert torch.equal(steps[-1].next_tokens[:, :2], steps[0].tokens[:, :2])
    assert sum(step.accepted.sum() for step in steps) == 14 + 13


def test_a_missing_shard(dream: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((dream / name).read_bytes())
    index = {"weight_map": {"lm_head.weight": "model-00001-of-00004.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelProblem, match="lacks the weights file model-00001-of-00004"):
        load_model(str(tmp_path))
