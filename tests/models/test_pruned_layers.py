"""Whole layers out of published formats: config says the new number, keys and weights of the layers that stay."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from chosen import mostly_slow
from golden_families import checkpoint
from safetensors.torch import load_file
from test_diffusion_transformer import made as made_dit
from tiny_families import ENCODERS, made
from tiny_models import save_word_tokenizer

from sap_core.errors import InvalidInput
from sap_core.evaluation.likelihood import text_likelihood
from sap_core.evaluation.texts import TextRow
from sap_core.models.loading import load_model
from sap_core.models.resizing.layers import remove_layers
from sap_core.pruning.api import prune
from sap_core.pruning.scoring.calibration import Calibration
from sap_core.pruning.scoring.inputs import Inputs
from sap_core.pruning.strategies.layer_scores import layer_scores

IDS = torch.randint(4, 96, (2, 16), generator=torch.Generator().manual_seed(0))
TEXTS = Calibration(IDS.numpy(), np.ones(IDS.shape, bool), "test")
FORMATS = {
    "llada": "n_layers", "dream": "", "sdar": "", "a2d-blocks": "", "sdar-moe": "", "llada-moe": "", "bert": "",
    "roberta": "", "modernbert": "", "eurobert": "", "distilbert": "n_layers",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("layers")
    return cache(lambda name: made(name, root / name))


@pytest.fixture(scope="module")
def model(folder):
    return cache(lambda name: load_model(str(folder(name)), device="cpu"))


@pytest.mark.parametrize("method", ["layer_similarity", "layer_loss", "random"])
@pytest.mark.parametrize("name", mostly_slow(FORMATS))
def test_a_folder_without_a_layer_loads(name: str, method: str, model, folder, tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", IDS.numpy())
    looks = {} if method == "random" else {"calibration": str(tmp_path / "ids.npy"), "noise_levels": 4}
    dense = model(name)
    result = prune(dense, method=method, pattern="layers", sparsity=0.5, **looks)
    small = result.model
    assert small.info.layers == dense.info.layers - result.report["removed"]["of"] // 2
    small.save(tmp_path / "small")
    config = json.loads((tmp_path / "small" / "config.json").read_text())
    assert config[FORMATS[name] or "num_hidden_layers"] == small.info.layers
    again = load_model(str(tmp_path / "small"), device="cpu")
    assert again.info.family == dense.info.family
    torch.testing.assert_close(again.logits(IDS), small.logits(IDS), atol=1e-5, rtol=1e-4)
    kept = [layer for layer in range(dense.info.layers) if layer not in result.report["removed"]["per_layer"][0]]
    before, after = (load_file(path / "model.safetensors") for path in (folder(name), tmp_path / "small"))
    block = {"llada": "blocks", "bert": "layer", "roberta": "layer", "distilbert": "layer"}.get(name, "layers")
    for key, value in after.items():
        head, found, rest = key.partition(f".{block}.")
        number, _, rest = rest.partition(".")
        assert torch.equal(value, before[f"{head}.{block}.{kept[int(number)]}.{rest}" if found else key])


def test_similarity_by_hand(model) -> None:
    dense = model("dream")
    seen = {}
    hooks = [
        block.register_forward_hook(
            lambda module, args, kwargs, output, layer=layer: seen.setdefault(layer, []).append((args[0], output)),
            with_kwargs=True,
        )
        for layer, block in enumerate(dense.blocks)
    ]
    found = layer_scores(dense, "similarity", Inputs("noised", levels=3), TEXTS)
    for hook in hooks:
        hook.remove()
    for layer, score in enumerate(found):
        cosines = [torch.nn.functional.cosine_similarity(x, y, dim=-1) for x, y in seen[layer]]
        assert len(cosines) == 6
        assert float(score) == pytest.approx(1 - float(torch.cat(cosines).mean()), rel=1e-4)


def test_loss_by_hand(model) -> None:
    """Leaving a layer out is the model without it."""
    dense = model("dream")
    found = layer_scores(dense, "loss", Inputs("noised"), TEXTS)
    rows = [TextRow(row.numpy(), np.ones(16, bool), 16) for row in IDS]
    loss = text_likelihood(dense, rows, draws=4, seed=0)
    clone = dense.clone()
    clone.module.model.layers = torch.nn.ModuleList([clone.module.model.layers[1]])
    clone.module.config.num_hidden_layers = 1
    assert float(found[0]) == pytest.approx(
        text_likelihood(clone, rows, draws=4, seed=0).minus(loss)["nats_per_token"], rel=1e-3, abs=1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llada2", "rnd1"])
@pytest.mark.parametrize("gone", [0, -1])
def test_a_published_mixture_without_a_layer_loads(name: str, gone: int, tmp_path: Path) -> None:
    """Also without its first, dense layer: the number of dense layers follows."""
    folder = checkpoint(name, tmp_path / "whole")
    dense = load_model(str(folder), device="cpu")
    before, total = dense.logits(IDS), dense.info.layers
    small = remove_layers(dense.clone(), [gone % total])
    small.save(tmp_path / "small")
    config, old = (json.loads((tmp_path / at / "config.json").read_text()) for at in ("small", "whole"))
    assert config["num_hidden_layers"] == total - 1
    if name == "llada2":
        assert config["first_k_dense_replace"] == old["first_k_dense_replace"] - (gone == 0)
    again = load_model(str(tmp_path / "small"), device="cpu")
    torch.testing.assert_close(again.logits(IDS), small.logits(IDS), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(again.logits(IDS), before, atol=1e-3)
    after, stored = (load_file(tmp_path / at / "model.safetensors") for at in ("small", "whole"))
    kept = [layer for layer in range(total) if layer != gone % total]
    for key, value in after.items():
        head, found, rest = key.partition(".layers.")
        number, _, rest = rest.partition(".")
        assert torch.equal(value, stored[f"{head}.layers.{kept[int(number)]}.{rest}" if found else key])
    inside = [key for key in stored if f".layers.{gone % total}." in key]
    assert len(after) == len(stored) - len(inside)


@pytest.mark.parametrize("name", ["mdlm", "bd3lm"])
def test_a_diffusion_transformer_without_a_layer_loads(name: str, tmp_path: Path) -> None:
    folder = made_dit(tmp_path / "whole", model_type=name, **({"block_size": 4} if name == "bd3lm" else {}))
    dense = load_model(str(folder), device="cpu")
    small = prune(dense, method="random", pattern="layers", sparsity=0.5).model
    small.save(tmp_path / "small")
    assert json.loads((tmp_path / "small" / "config.json").read_text())["n_blocks"] == 1
    again = load_model(str(tmp_path / "small"), device="cpu")
    torch.testing.assert_close(again.logits(IDS), small.logits(IDS), atol=1e-5, rtol=1e-4)


def test_layers_of_two_kinds_keep_their_kinds(tmp_path: Path) -> None:
    """ModernBERT attends globally in every third layer; what stays says which it is. Its first layer always stays."""
    torch.manual_seed(0)
    fields = {**ENCODERS["modernbert"][1], "num_hidden_layers": 4, "local_attention": 4}
    module = transformers.ModernBertForMaskedLM(transformers.ModernBertConfig(**fields))
    module.save_pretrained(tmp_path / "whole")
    config = json.loads((tmp_path / "whole" / "config.json").read_text())
    kinds = config.pop("layer_types")
    config["global_attn_every_n_layers"] = 3  # as the published folders say it
    (tmp_path / "whole" / "config.json").write_text(json.dumps(config))
    save_word_tokenizer(tmp_path / "whole")
    dense = load_model(str(tmp_path / "whole"), device="cpu")
    for seed in range(4):
        assert (
            0
            not in prune(dense, method="random", pattern="layers", sparsity=0.5, seed=seed).report["removed"][
                "per_layer"
            ][0]
        )
    small = remove_layers(dense, [1])
    small.save(tmp_path / "small")
    assert json.loads((tmp_path / "small" / "config.json").read_text())["layer_types"] == [kinds[0], *kinds[2:]]
    again = load_model(str(tmp_path / "small"), device="cpu")
    torch.testing.assert_close(again.logits(IDS), small.logits(IDS), atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sdar", "a2d-qwen3"])
def test_heads_leave_where_the_format_has_a_head_size(name: str, model, folder, tmp_path: Path) -> None:
    dense = model(name)
    small = prune(dense, method="random", pattern="heads", sparsity=0.5).model
    small.save(tmp_path / "small")
    config = json.loads((tmp_path / "small" / "config.json").read_text())
    assert (config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]) == (2, 1, 8)
    again = load_model(str(tmp_path / "small"), device="cpu")
    assert again.info.family == dense.info.family
    torch.testing.assert_close(again.logits(IDS), small.logits(IDS), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["dream", "llada"])
def test_heads_are_refused_with_the_reason(name: str, model) -> None:
    with pytest.raises(InvalidInput, match=r"pattern heads is not supported .* config.json has no head_dim"):
        prune(model(name), method="random", pattern="heads", sparsity=0.5)
