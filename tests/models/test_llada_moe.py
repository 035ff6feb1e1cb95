"""LLaDA-MoE loads as a bidirectional Qwen3Moe, expert by expert."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from tiny_models import save_word_tokenizer

from sap_core.errors import ModelProblem
from sap_core.models.inspection import inspect_model
from sap_core.models.loading import load_model
from sap_core.pruning.api import prune

IDS = torch.randint(3, 96, (2, 12), generator=torch.Generator().manual_seed(0))
FIELDS = {
    "architectures": ["LLaDAMoEModelLM"],
    "attention_bias": False,
    "clip_qkv": None,
    "dense_intermediate_size": 64,
    "expert_intermediate_size": 24,
    "hidden_act": "silu",
    "hidden_size": 32,
    "mask_token_id": 2,
    "max_position_embeddings": 64,
    "model_type": "llada",
    "moe_layer_freq": [0, 1],
    "moe_router_enable_expert_bias": False,
    "moe_router_score_function": "softmax",
    "norm_topk_prob": None,
    "num_attention_heads": 4,
    "num_experts": 6,
    "num_experts_per_tok": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 4,
    "pad_token_id": 0,
    "partial_rotary_factor": 1,
    "qk_layernorm": True,
    "rms_norm_eps": 1e-05,
    "rope_theta": 50000,
    "routed_scaling_factor": 1,
    "shared_expert_intermediate_size": None,
    "tie_word_embeddings": False,
    "vocab_size": 96,
}


def stock_model() -> transformers.Qwen3MoeForCausalLM:
    torch.manual_seed(0)
    config = transformers.Qwen3MoeConfig(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=64,
        moe_intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=8,
        num_experts=6,
        num_experts_per_tok=2,
        mlp_only_layers=[0],
        norm_topk_prob=False,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
        rope_theta=50000.0,
        tie_word_embeddings=False,
        initializer_range=0.2,
    )
    config.is_causal = False
    return transformers.Qwen3MoeForCausalLM(config).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llada-moe")
    stock_model().save_pretrained(path)
    (path / "config.json").write_text(json.dumps(FIELDS))
    save_word_tokenizer(path)
    return path


def test_every_expert_is_a_matrix(folder: Path) -> None:
    info = inspect_model(str(folder))
    assert (info.family, info.ffn, info.mask_token_id) == ("llada-moe", 24, 2)
    names = [matrix.name for matrix in info.matrices if matrix.layer == 1]
    assert len(names) == 4 + 3 * 6 and "model.layers.1.mlp.experts.5.down_proj" in names
    assert not any(name.endswith("mlp.gate") for name in names)
    assert [m.name for m in info.matrices if m.layer == 0][-1] == "model.layers.0.mlp.down_proj"


def test_logits_are_those_of_qwen3_moe(folder: Path) -> None:
    model = load_model(str(folder), device="cpu")
    with torch.no_grad():
        expected = stock_model()(IDS).logits
    torch.testing.assert_close(model.logits(IDS), expected, atol=2e-5, rtol=1e-5)
    assert all(isinstance(layer, torch.nn.Linear) for layer in model.linears(1).values())
    model.info.check_prunable()


def test_a_changed_expert_is_saved_under_its_name(folder: Path, tmp_path: Path) -> None:
    model = load_model(str(folder), device="cpu")
    twin = model.clone()
    twin.linears(1)["model.layers.1.mlp.experts.3.up_proj"].weight.zero_()
    twin.save(tmp_path)
    assert (tmp_path / "config.json").read_bytes() == (folder / "config.json").read_bytes()
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert before.keys() == after.keys()
    changed = [key for key in before if not torch.equal(before[key], after[key])]
    assert changed == ["model.layers.1.mlp.experts.3.up_proj.weight"]
    assert torch.equal(load_model(str(tmp_path), device="cpu").logits(IDS), twin.logits(IDS))
    assert not torch.equal(model.logits(IDS), twin.logits(IDS))


@pytest.mark.parametrize(("field", "value"), [("qk_layernorm", False), ("clip_qkv", 8.0), ("vocab_size", None)])
def test_variants_that_qwen3_moe_does_not_compute(folder: Path, tmp_path: Path, field: str, value: object) -> None:
    spoilt = Path(shutil.copytree(folder, tmp_path / "spoilt"))
    (spoilt / "config.json").write_text(json.dumps({**FIELDS, field: value}))
    with pytest.raises(ModelProblem, match=field):
        inspect_model(str(spoilt))


def test_mixtrals_experts_are_pruned_one_by_one(tmp_path: Path) -> None:
    """Mixtral's checkpoint names its experts w1, w2, w3: each is pruned as a matrix of its own."""
    torch.manual_seed(0)
    config = transformers.MixtralConfig(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    stock = transformers.MixtralForCausalLM(config).eval()
    stock.save_pretrained(tmp_path)
    model = load_model(str(tmp_path), device="cpu")
    with torch.no_grad():
        torch.testing.assert_close(model.logits(IDS), stock(IDS).logits, atol=1e-5, rtol=1e-5)
    pruned = prune(model, method="magnitude", sparsity=0.5)
    assert abs(pruned.report["sparsity"] - 0.5) < 0.02
    assert all(abs(row["sparsity"] - 0.5) < 0.02 for row in pruned.report["matrices"])
    assert sum("experts" in row["name"] for row in pruned.report["matrices"]) == 4 * 3


def test_an_experts_layers_know_whose_rows_they_get(folder: Path) -> None:
    model = load_model(str(folder), device="cpu")
    block = model.blocks[1].mlp
    seen = {}
    for number, expert in enumerate(block.experts):
        expert.up_proj.register_forward_pre_hook(
            lambda layer, args, number=number: seen.__setitem__(number, layer.routed.spread(args[0]))
        )
    given = []
    block.register_forward_pre_hook(lambda layer, args: given.append(args[0].flatten(0, 1)))
    model.logits(IDS)
    assert len(seen) == 6 and all(rows.shape == (24, 32) for rows in seen.values())
    # Every token reaches two experts, unchanged.
    torch.testing.assert_close(sum(seen.values()), 2 * given[0])


@pytest.mark.parametrize("method", ["wanda", "sink"])
def test_every_expert_is_pruned(folder: Path, tmp_path: Path, method: str) -> None:
    import numpy as np

    from sap_core.pruning.api import prune

    np.save(tmp_path / "ids.npy", IDS.numpy())
    pruned = prune(
        load_model(str(folder), device="cpu"),
        method=method,
        sparsity=0.5,
        calibration=str(tmp_path / "ids.npy"),
        samples=2,
    )
    for layer in pruned.model.linears(1).values():
        assert (layer.weight == 0).float().mean() == 0.5
