"""DiffusionGemma's 3-D experts: pruned weight by weight and whole, stored as before, loaded by the stock class."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from chosen import mostly_slow
from safetensors.torch import load_file
from test_diffusion_gemma import TEXT, VISION
from tiny_models import save_word_tokenizer

from sap_core.errors import InvalidInput
from sap_core.export.checkpoint import export_checkpoint
from sap_core.models.loading import load_model
from sap_core.pruning.api import prune
from sap_core.pruning.scoring.inputs import Inputs, noised_rows

pytestmark = pytest.mark.skipif(
    not hasattr(transformers, "DiffusionGemmaForBlockDiffusion"), reason="this transformers has no DiffusionGemma"
)
IDS = torch.randint(4, 96, (3, 16), generator=torch.Generator().manual_seed(0))
PACKED = [f"model.decoder.layers.{layer}.experts.{name}" for layer in (0, 1) for name in ("gate_up_proj", "down_proj")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("diffusion-gemma")
    torch.manual_seed(0)
    config = transformers.DiffusionGemmaConfig(text_config=TEXT, vision_config=VISION, canvas_length=8)
    module = transformers.DiffusionGemmaForBlockDiffusion(config)
    for name, value in module.named_parameters():
        if "router" in name or "experts" in name:  # so that it matters which expert a token gets
            torch.nn.init.normal_(value, 1.0 if "scale" in name else 0.0, 0.3)
    module.save_pretrained(path)
    save_word_tokenizer(path, mask=False)
    np.save(path.parent / "ids.npy", IDS.numpy())
    return path


@pytest.fixture(scope="module")
def dense(folder: Path):
    return load_model(str(folder), device="cpu")


def texts(folder: Path) -> dict:
    return {"calibration": str(folder.parent / "ids.npy"), "noise_levels": 2}


def stock(folder: Path, ids: torch.Tensor) -> torch.Tensor:
    """The stock class on the first token as the prompt and the others as the canvas."""
    module = transformers.DiffusionGemmaForBlockDiffusion.from_pretrained(folder).eval()
    where = torch.arange(1, ids.shape[1])[None]
    with torch.no_grad():
        return module(input_ids=ids[:, :1], decoder_input_ids=ids[:, 1:], decoder_position_ids=where).logits


def test_unpacking_changes_no_logit_and_no_stored_byte(dense, folder: Path, tmp_path: Path) -> None:
    torch.testing.assert_close(dense.logits(IDS)[:, 1:], stock(folder, IDS), atol=1e-5, rtol=1e-5)
    dense.save(tmp_path / "same")
    before, after = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "same"))
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)


METHODS = (
    "magnitude",
    "wanda",
    "ria",
    "sparsegpt",
    "taylor",
    "sink",
    "sink_sparsegpt",
    "noised_wanda",
    "sink_temporal",
)


@pytest.mark.parametrize("method", mostly_slow(METHODS, 2))
def test_weights_inside_experts_are_pruned_by_every_method(method: str, dense, folder: Path, tmp_path: Path) -> None:
    looks = {} if method == "magnitude" else texts(folder)
    small = prune(dense, method=method, sparsity=0.5, **looks)
    small.model.save(tmp_path / "small")
    stored = load_file(tmp_path / "small" / "model.safetensors")
    for name in PACKED:
        for expert in stored[name]:
            assert float((expert == 0).float().mean()) == pytest.approx(0.5, abs=0.05)
    torch.testing.assert_close(stock(tmp_path / "small", IDS), small.model.logits(IDS)[:, 1:], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(small.model.logits(IDS), dense.logits(IDS), atol=1e-3)


def test_wanda_of_an_expert_by_hand(dense, folder: Path) -> None:
    """The norm of the columns that reached it, of texts as a whole canvas behind a start token."""
    small = prune(dense, method="wanda", sparsity=0.5, order="one_shot", **texts(folder))
    name = "model.decoder.layers.1.experts.2.gate_proj"
    seen = []
    layer = dense.module.get_submodule(name)
    hook = layer.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    start = torch.full((3, 1), TEXT["bos_token_id"])
    dense.logits(torch.cat([start, IDS], 1))
    hook.remove()
    norms = torch.cat(seen).square().sum(0).sqrt()
    scores = layer.weight.abs() * norms
    gone = scores.argsort(dim=1, stable=True)[:, : scores.shape[1] // 2]
    expected = layer.weight.clone().scatter_(1, gone, 0)
    assert torch.equal(small.model.module.get_submodule(name).weight, expected)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["expert_frequency", "reap", "random"])
def test_whole_experts_leave_with_their_rows_of_the_router(method: str, dense, folder: Path, tmp_path: Path) -> None:
    looks = {} if method == "random" else texts(folder)
    result = prune(dense, method=method, pattern="experts", sparsity=0.25, **looks)
    result.model.save(tmp_path / "small")
    config = json.loads((tmp_path / "small" / "config.json").read_text())
    assert config["text_config"]["num_experts"] == 3
    before, after = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "small"))
    for layer, gone in enumerate(result.report["removed"]["per_layer"]):
        kept = [number for number in range(4) if number not in gone]
        at = f"model.decoder.layers.{layer}."
        for name in ("experts.gate_up_proj", "experts.down_proj", "router.proj.weight", "router.per_expert_scale"):
            assert torch.equal(after[at + name], before[at + name][kept])
    torch.testing.assert_close(stock(tmp_path / "small", IDS), result.model.logits(IDS)[:, 1:], atol=1e-5, rtol=1e-5)
    again = load_model(str(tmp_path / "small"), device="cpu")
    torch.testing.assert_close(again.logits(IDS), result.model.logits(IDS), atol=1e-5, rtol=1e-5)
    with pytest.raises(InvalidInput, match="too few for a router that sends each token to 2"):
        prune(dense, method="random", pattern="experts", sparsity=0.75)


def test_its_noise_is_random_tokens(dense) -> None:
    rows = noised_rows(dense, IDS, Inputs("noised", "each", 4, seed=3))
    changed = (rows != IDS[:, None]).float().mean((0, 2))
    assert rows.shape == (3, 4, 16) and int(rows.max()) < 96 and int(rows.min()) >= 0
    assert changed[0] < changed[-1] and changed[-1] > 0.9
    assert torch.equal(rows, noised_rows(dense, IDS, Inputs("noised", "each", 4, seed=3)))


@pytest.mark.slow
@pytest.mark.usefixtures("warm_python")
@pytest.mark.slow
def test_an_export_is_verified_by_the_stock_class(dense, folder: Path, tmp_path: Path) -> None:
    report = export_checkpoint(prune(dense, method="magnitude", sparsity=0.5), tmp_path / "out")
    found = report.verification
    assert found is not None and found["equal"]
    assert (found["loader"], found["class"]) == ("transformers", "DiffusionGemmaForBlockDiffusion")
    assert "import DiffusionGemmaForBlockDiffusion" in (tmp_path / "out" / "README.md").read_text()
