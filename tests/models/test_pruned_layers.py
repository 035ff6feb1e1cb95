"""Whole layers out of published formats: config says the new number, keys and weights of the layers that stay."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_families import made

from sap_core.evaluation.likelihood import text_likelihood
from sap_core.evaluation.texts import TextRow
from sap_core.models.loading import load_model
from sap_core.pruning.api import prune
from sap_core.pruning.scoring.calibration import Calibration
from sap_core.pruning.scoring.inputs import Inputs
from sap_core.pruning.strategies.layer_scores import layer_scores

IDS = torch.randint(4, 96, (2, 16), generator=torch.Generator().manual_seed(0))
TEXTS = Calibration(IDS.numpy(), np.ones(IDS.shape, bool), "test")
FORMATS = {"llada": "n_layers", "dream": "num_hidden_layers", "sdar": "num_hidden_layers", "a2d-blocks": ""}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("layers")
    return cache(lambda name: made(name, root / name))


@pytest.fixture(scope="module")
def model(folder):
    return cache(lambda name: load_model(str(folder(name)), device="cpu"))


@pytest.mark.parametrize("method", ["layer_similarity", "layer_loss", "random"])
@pytest.mark.parametrize("name", FORMATS)
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
    block = "blocks" if name == "llada" else "layers"
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
