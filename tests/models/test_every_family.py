"""What holds for every family alike: recording changes nothing, padding counts for nothing, saving loses nothing."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

import pytest
import torch
from chosen import mostly_slow
from safetensors.torch import load_file
from tiny_families import BLOCKS, CAUSAL, EVERY, MASK, made

from sap_core.attention.recorder import record_attention
from sap_core.choices.samplers import SAMPLERS
from sap_core.errors import InvalidInput, ModelProblem
from sap_core.models.family import HEAD_SIZED, LAYERED, RESIZABLE
from sap_core.models.family_registry import FAMILIES
from sap_core.models.loading import load_model
from sap_core.models.resizing.units import supported_units
from sap_core.pruning.api import prune

IDS = torch.randint(4, 96, (2, 16), generator=torch.Generator().manual_seed(0))
PAD, ONES = torch.zeros(2, 3, dtype=torch.long), torch.ones_like(IDS)
UNITS = [(name, unit) for name in EVERY for unit in ("heads", "channels", "layers")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("families")
    return cache(lambda name: made(name, root / name))


@pytest.fixture(scope="module")
def model(folder):
    return cache(lambda name: load_model(str(folder(name)), device="cpu"))


def recorded(model, ids: torch.Tensor, mask: torch.Tensor | None):
    """Statistics of one forward, whose logits must be those without recording, bit for bit."""
    plain = model.logits(ids, mask)
    with record_attention(model) as recorder:
        assert torch.equal(model.logits(ids, mask), plain)
        found = recorder.collect()
    assert torch.equal(model.logits(ids, mask), plain)
    return found


@pytest.mark.parametrize("name", mostly_slow(EVERY, 6))
def test_recording_changes_nothing_and_padding_counts_for_nothing(name: str, model) -> None:
    ids = IDS.clone()
    if name not in CAUSAL:
        ids[:, 9:12] = model(name).check_masked()
    whole = recorded(model(name), ids, None)
    torch.testing.assert_close(whole.received.sum(-1), torch.ones(whole.received.shape[:-1]))
    left = recorded(model(name), torch.cat([PAD, ids], 1), torch.cat([PAD, ONES], 1))
    right = recorded(model(name), torch.cat([ids, PAD], 1), torch.cat([ONES, PAD], 1))
    for padded, inside, outside in ((left, slice(3, None), slice(3)), (right, slice(16), slice(16, None))):
        assert not padded.received[..., outside].any()
        for one, other in (
            (padded.received[..., inside], whole.received),
            (padded.received_masked[..., inside], whole.received_masked),
            (padded.entropy, whole.entropy),
            (padded.distance, whole.distance),
        ):
            torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", mostly_slow(EVERY))
def test_a_pruned_folder_has_the_keys_shapes_and_config_of_its_source(name: str, model, folder, tmp_path: Path) -> None:
    """And what is untouched comes back bit for bit."""
    pruned = prune(model(name), method="magnitude", pattern="2:4").model
    pruned.save(tmp_path)
    before, after = load_file(folder(name) / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert {k: v.shape for k, v in before.items()} == {k: v.shape for k, v in after.items()}
    assert (tmp_path / "config.json").read_bytes() == (folder(name) / "config.json").read_bytes()
    prunable = {f"{matrix.name}.weight" for matrix in pruned.info.matrices}
    touched = {key for key in before if not torch.equal(before[key], after[key])}
    assert {pruned.info.keys[key] for key in touched} == prunable
    assert torch.equal(load_model(str(tmp_path), device="cpu").logits(IDS), pruned.logits(IDS))
    load_model(str(folder(name)), device="cpu").save(tmp_path / "again")
    again = load_file(tmp_path / "again" / "model.safetensors")
    assert again.keys() == before.keys() and all(torch.equal(again[key], before[key]) for key in before)


@pytest.mark.parametrize(("name", "unit"), mostly_slow(UNITS, 9))
def test_units_go_where_the_table_says_so(name: str, unit: str, model, tmp_path: Path) -> None:
    info = model(name).info
    native = info.native_config["model_type"]
    promised = unit in info.row.units and native in (LAYERED if unit == "layers" else RESIZABLE)
    if unit == "heads" and native != info.config["model_type"]:
        promised = promised and native in HEAD_SIZED and "head_dim" in info.config
    assert (unit in supported_units(info)) == (unit in info.patterns) == promised
    if not promised:
        with pytest.raises(InvalidInput, match=f"pattern {unit} is not supported"):
            prune(model(name), method="magnitude", pattern=unit, sparsity=0.5)
        return
    small = prune(model(name), method="magnitude", pattern=unit, sparsity=0.5).model
    assert small.info.parameters < info.parameters
    small.save(tmp_path)
    assert torch.equal(load_model(str(tmp_path), device="cpu").logits(IDS), small.logits(IDS))


def test_every_masked_family_decodes_by_a_confidence_threshold() -> None:
    masked = [family for family in FAMILIES.values() if family.objective == "masked_diffusion" and family.has_mask]
    assert len(masked) > 6 and all("confidence_threshold" in family.samplers for family in masked)
    assert all(name in SAMPLERS for family in FAMILIES.values() for name in family.samplers)


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_see_no_later_block(name: str, model) -> None:
    later = IDS.clone()
    later[:, -1] = 5
    # Not to the last bit: which tokens an expert computes together depends on the whole text.
    moved = (model(name).logits(later) - model(name).logits(IDS)).abs().amax((0, 2))
    changed = (moved > 1e-4).tolist()
    first = (15 // BLOCKS[name]) * BLOCKS[name]
    assert changed == [False] * first + [True] * (16 - first)


def test_a_mask_token_is_known_without_the_tokenizer_declaring_one(model) -> None:
    assert model("llada").tokenizer.mask_token is None and model("llada").check_masked() == 159
    assert model("sdar").check_masked() == MASK


def spoilt(source: Path, target: Path, damage: str) -> str:
    """A copy of a model folder with one thing wrong; what the error must say."""
    shutil.copytree(source, target)
    weights, config = target / "model.safetensors", target / "config.json"
    if damage == "shard":
        weights.rename(target / "model-00001-of-00002.safetensors")
        names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
        (target / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
        return "lacks the weights file model-00002-of-00002"
    if damage == "header":
        weights.write_bytes(b"\xff" * 64 + weights.read_bytes()[64:])
        return "header is damaged"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-4])
        return "bytes where its header promises"
    if damage == "pickled":
        weights.rename(target / "pytorch_model.bin")
        return "only pickled weights"
    fields = json.loads(config.read_text())
    for name in ("num_hidden_layers", "n_layers", "n_layer"):
        fields.pop(name, None)
    config.write_text(json.dumps(fields))
    return "n_layers|num_hidden_layers"


@pytest.mark.parametrize("damage", ["shard", "header", "truncated", "pickled", "config"])
@pytest.mark.parametrize("name", mostly_slow(EVERY, 6))
def test_a_spoilt_folder_is_refused_in_one_line(name: str, damage: str, folder, tmp_path: Path) -> None:
    words = spoilt(folder(name), tmp_path / "spoilt", damage)
    with pytest.raises(ModelProblem, match=words) as caught:
        load_model(str(tmp_path / "spoilt"))
    assert "\n" not in str(caught.value)
