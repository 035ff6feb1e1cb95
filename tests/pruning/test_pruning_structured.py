"""Whole units taken out: equal to silencing them, smaller in memory, loadable after export."""

from __future__ import annotations

import pytest
import torch

from sap_core.errors import InvalidInput
from sap_core.evaluation.cost import model_size
from sap_core.models.inspection import inspect_model
from sap_core.models.loading import load_model
from sap_core.pruning.api import plan_pruning, prune
from sap_core.specs import PruneSpec

TOKENS = torch.arange(4, 28)[None]


@pytest.fixture(scope="module")
def model(tiny_diffusion):
    return load_model(str(tiny_diffusion))


def silenced(model, unit: str, per_layer: list[list[int]]):
    """A copy of full size in which the same units give nothing."""
    copy, info = model.clone(), model.info
    width = info.head_dim * (info.heads // info.kv_heads) if unit == "heads" else 1
    kind = "o" if unit == "heads" else "down"
    for matrix in (m for m in info.matrices if m.kind == kind):
        for index in per_layer[matrix.layer]:
            copy.module.get_submodule(matrix.name).weight.data[:, index * width : (index + 1) * width] = 0
    return copy


@pytest.mark.parametrize(("method", "unit", "sparsity"), [
    ("sink", "channels", 0.25), ("magnitude", "heads", 0.5), ("taylor", "channels", 0.5), ("random", "heads", 0.5),
])  # fmt: skip
def test_the_small_model_equals_the_one_with_the_units_silenced(model, method, unit, sparsity):
    pruned = prune(model, method=method, pattern=unit, sparsity=sparsity, samples=2)
    removed = pruned.report["removed"]
    assert all(len(out) == int(removed["of"] * sparsity) for out in removed["per_layer"])
    expected = silenced(model, unit, removed["per_layer"]).logits(TOKENS)
    assert (pruned.model.logits(TOKENS) - expected).abs().max() < 1e-5
    assert not torch.equal(expected, model.logits(TOKENS))


def test_what_the_plan_says_is_what_is_left(model):
    plan = plan_pruning(model, method="magnitude", pattern="channels", sparsity=0.25)
    pruned = prune(model, method="magnitude", pattern="channels", sparsity=0.25)
    assert plan == pruned.plan and plan.shape == {"layers": 3, "heads": 4, "kv_heads": 2, "ffn": 48}
    assert plan.loads == "stock transformers"
    assert all(row["zeros"] == row["planned_zeros"] for row in pruned.report["matrices"])
    gone = plan.totals()["zeros"]
    assert model_size(model)["parameters"] - model_size(pruned.model)["parameters"] == gone == 3 * 3 * 16 * 32
    assert pruned.model.info.ffn == 48 and pruned.model.info.parameters == model.info.parameters - gone


def test_the_least_scored_units_go(model):
    pruned = prune(model, method="magnitude", pattern="channels", sparsity=0.25)
    for layer, out in enumerate(pruned.report["removed"]["per_layer"]):
        weight = model.module.get_submodule(f"model.layers.{layer}.mlp.down_proj").weight
        assert sorted(out) == sorted(weight.abs().sum(0).argsort()[:16].tolist())


def test_whole_layers_go_and_the_rest_is_what_it_was(model):
    pruned = prune(model, method="magnitude", pattern="layers", sparsity=0.34)
    (out,) = pruned.report["removed"]["per_layer"][0]
    assert pruned.model.info.layers == len(pruned.model.blocks) == 2
    left = [layer for layer in range(3) if layer != out]
    for new, old in enumerate(left):
        for name, value in model.blocks[old].state_dict().items():
            assert pruned.model.blocks[new].state_dict()[name].equal(value)
    assert abs(pruned.report["sparsity"] - 1 / 3) < 1e-6
    assert pruned.model.logits(TOKENS).isfinite().all()


def test_the_unstable_groups_go_when_heads_are_taken_out(model, monkeypatch):
    import pandas as pd

    rows = [(layer, head, 1.0 if head in (2, 3) else 0.1) for layer in range(3) for head in range(4)]
    table = pd.DataFrame(rows, columns=["layer", "head", "instability"])
    table["importance"] = -table["instability"]
    monkeypatch.setattr("sap_core.pruning.scoring.head_ranking.ranking", lambda *_: table)
    pruned = prune(model, method="heads", pattern="heads", sparsity=0.5)
    assert pruned.report["removed"]["per_layer"] == [[1], [1], [1]]
    assert pruned.model.info.heads == 2 and pruned.model.info.kv_heads == 1


@pytest.mark.parametrize("unit", ["heads", "channels"])
def test_a_bias_makes_up_for_what_is_constant(model, unit):
    """With compensation the mean output of the part stays: what was removed is replaced by its mean."""
    small = prune(model, method="flap", pattern=unit, sparsity=0.5, samples=4)
    plain = prune(model, method="flap", pattern=unit, sparsity=0.5, samples=4, compensate="bias")
    assert small.report["weights_sha256"] == plain.report["weights_sha256"]  # flap always compensates
    name = "model.layers.0.self_attn.o_proj" if unit == "heads" else "model.layers.0.mlp.down_proj"
    bias = small.model.module.get_submodule(name).bias
    out = small.report["removed"]["per_layer"][0]
    width = 16 if unit == "heads" else 1
    columns = [index * width + offset for index in out for offset in range(width)]
    from sap_core.pruning.scoring.statistics import Moments, TokenRows, one_shot
    from sap_core.pruning.strategies.preparation import calibration_of

    texts = calibration_of(model, PruneSpec.build(model="m", method="wanda", samples=4), 0)
    rows = TokenRows(torch.from_numpy(texts.tokens), torch.from_numpy(texts.valid).float(), texts.lengths.tolist())
    mean = one_shot(model, rows, Moments)[name][0]
    weight = model.module.get_submodule(name).weight
    torch.testing.assert_close(bias, weight[:, columns] @ mean[columns])


@pytest.mark.parametrize(("method", "unit", "sparsity", "native"), [
    ("magnitude", "channels", 0.25, "llama"), ("magnitude", "layers", 0.4, "llama"), ("flap", "heads", 0.5, "llama"),
])  # fmt: skip
def test_an_export_loads_here_in_its_new_shape(model, tmp_path, method, unit, sparsity, native):
    from sap_core.export.checkpoint import export_checkpoint

    pruned = prune(model, method=method, pattern=unit, sparsity=sparsity, samples=2)
    report = export_checkpoint(pruned, tmp_path / "out", verify=False)
    assert report.loader == "transformers"
    again = load_model(str(tmp_path / "out"))
    assert again.logits(TOKENS).equal(pruned.model.logits(TOKENS))
    info = inspect_model(str(tmp_path / "out"))
    assert info.native_config["model_type"] == native
    for field in ("layers", "heads", "kv_heads", "head_dim", "ffn", "parameters", "mask_token_id", "objective"):
        assert getattr(info, field) == getattr(pruned.model.info, field), field
    assert (tmp_path / "out" / "model.safetensors").stat().st_size < model.info.bytes


@pytest.mark.usefixtures("warm_python")
@pytest.mark.slow
def test_heads_that_do_not_divide_the_width_are_exported_as_mistral_and_load_in_stock(tmp_path):
    """Width 24, 4 heads of 6: three are left. One fresh process shows that stock classes agree."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from sap_core.export.checkpoint import export_checkpoint

    config = LlamaConfig(
        vocab_size=40, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=32, initializer_range=0.2,
    )  # fmt: skip
    config.is_causal = False
    config.mask_token_id = 2
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "source")
    source = str(tmp_path / "source")
    assert "Mistral" in plan_pruning(source, method="magnitude", pattern="heads", sparsity=0.25).loads
    pruned = prune(source, method="magnitude", pattern="heads", sparsity=0.25, duplicates="ignore")
    report = export_checkpoint(pruned, tmp_path / "out")
    assert report.verification["class"] == "MistralForCausalLM" and report.verification["equal"]
    assert load_model(str(tmp_path / "out")).is_diffusion


def test_llada_keeps_its_names_with_a_smaller_feed_forward(golden, tmp_path):
    from safetensors.torch import load_file

    from sap_core.export.checkpoint import export_checkpoint

    pruned = prune(str(golden / "tiny-llada"), method="magnitude", pattern="channels", sparsity=0.5)
    export_checkpoint(pruned, tmp_path / "out", verify=False)
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert stored["model.transformer.blocks.1.ff_out.weight"].shape == (32, 40)
    again = load_model(str(tmp_path / "out"))
    assert again.info.family == "llada" and again.logits(TOKENS).equal(pruned.model.logits(TOKENS))


@pytest.mark.parametrize(("fields", "words"), [
    ({"pattern": "channels", "sparsity": 0.01}, "less than one; give at least"),
    ({"method": "sparsegpt", "pattern": "heads"}, "supports: unstructured, N:M"),
    ({"method": "flap", "pattern": "layers"}, "supports: heads, channels"),
    ({"method": "flap"}, "supports: heads, channels"),
    ({"method": "wanda", "pattern": "channels", "order": "sequential"}, "scored on the dense model"),
    ({"compensate": "weights"}, "needs pattern heads or channels"),
    ({"pattern": "channels", "compare": "row"}, "whole channels"),
])  # fmt: skip
def test_what_does_not_go_together_is_refused(model, fields, words):
    with pytest.raises(InvalidInput, match=words):
        prune(model, **{"method": "magnitude", "sparsity": 0.5} | fields)


def test_models_that_units_can_not_be_taken_out_of_are_refused_by_name(golden):
    with pytest.raises(InvalidInput, match="supports: unstructured, N:M, channels"):
        prune(str(golden / "tiny-llada"), method="magnitude", pattern="heads", sparsity=0.5)
