"""A checkpoint pruned block by block from its files is the one that the in-memory engine makes, bit for bit."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors import safe_open
from streamed_models import FORMATS, add_tensor, save_ids, save_sharded, tensors

import sap_core as sap
from sap_core.choices.methods import METHODS, WEIGHTS
from sap_core.errors import Cancelled, InvalidInput, ModelProblem
from sap_core.models.loading import load_model
from sap_core.specs import PruneCheckpointSpec, parse_spec

pytestmark = pytest.mark.slow

ASKED = [
    {"method": "magnitude", "pattern": "2:4"},
    {"method": "random", "sparsity": 0.3},
    {"method": "wanda"},
    {"method": "wanda", "order": "one_shot", "compare": "matrix"},
    {"method": "ria", "allocation": "ramp"},
    {"method": "magnitude", "allocation": "owl"},
    {"method": "sparsegpt"},
    {"method": "noised_sparsegpt", "pattern": "2:4", "order": "one_shot"},
    {"method": "sink_sparsegpt"},
    {"method": "noised_wanda"},
    {"method": "sink"},
    {"method": "sink", "order": "sequential", "pattern": "4:8"},
    {"method": "sink_temporal"},
    {"method": "heads", "heads": ((0, 1), (1, 3))},
]


@pytest.fixture(scope="module")
def calibration(tmp_path_factory):
    return save_ids(tmp_path_factory.mktemp("texts") / "ids.npy")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Name of a format -> folder of a tiny model in it."""
    made = {}

    def folder(name):
        if name not in made:
            made[name] = save_sharded(tmp_path_factory.mktemp(name) / "model", name)
        return made[name]

    return folder


@pytest.fixture(scope="module")
def llada(golden):
    return golden / "tiny-llada", load_model(str(golden / "tiny-llada"))


def name_of(asked):
    return "-".join(str(value) for value in asked.values())


@pytest.mark.parametrize("asked", ASKED, ids=name_of)
def test_every_method_gives_the_weights_of_the_engine_in_memory(llada, golden, tmp_path, asked):
    folder, dense = llada
    asked = asked | {"calibration": str(golden / "calibration_tokens.npy")}
    whole = sap.prune(dense, **asked)
    done = sap.prune_checkpoint(str(folder), tmp_path / "out", verify=False, **asked)
    assert done.plan == whole.plan
    same = [key for key in whole.report if key != "seconds"]
    assert {key: done.report[key] for key in same} == {key: whole.report[key] for key in same}
    found, dense_weights = tensors(tmp_path / "out"), tensors(folder)
    assert found.keys() == dense_weights.keys()
    state = whole.model.module.state_dict()
    assert all(value.equal(state[dense.info.keys[key]]) for key, value in found.items())
    changed = {key for key in found if not found[key].equal(dense_weights[key])}
    assert changed and all(".blocks." in key for key in changed)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_list_above_has_every_method_that_is_supported():
    """Taylor is refused; `measured` removes as `heads` does, by a ranking that a run of its own has made."""
    weights = {name for name, row in METHODS.items() if set(row.patterns) & set(WEIGHTS)}
    assert {asked["method"] for asked in ASKED} == weights - {"taylor", "measured"}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_keeps_its_names_shards_and_config(folders, calibration, tmp_path, name):
    folder, method = folders(name), "sink" if name != "mistral" else "wanda"
    asked = {"method": method, "calibration": calibration, "samples": 5}
    dense = load_model(str(folder))
    whole = sap.prune(dense, **asked)
    done = sap.prune_checkpoint(str(folder), tmp_path / "out", verify=False, **asked)
    assert done.report["weights_sha256"] == whole.report["weights_sha256"]
    whole.model.save(tmp_path / "saved")
    shards = [path.name for path in (tmp_path / "saved").glob("*.safetensors")]
    assert len(shards) > 2
    for shard in shards:
        with safe_open(tmp_path / "saved" / shard, "pt") as saved, safe_open(tmp_path / "out" / shard, "pt") as own:
            assert set(saved.keys()) == set(own.keys()) and saved.metadata() == own.metadata()
            assert all(saved.get_tensor(key).equal(own.get_tensor(key)) for key in saved.keys())
    for kept in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json"):
        assert (tmp_path / "out" / kept).read_bytes() == (tmp_path / "saved" / kept).read_bytes(), kept
    loaded = load_model(str(tmp_path / "out"))
    tokens = torch.arange(4, 16)[None]
    assert loaded.logits(tokens).equal(whole.model.logits(tokens))


@pytest.mark.usefixtures("warm_python")
def test_the_folder_is_an_export_with_card_and_manifest_that_verifies(folders, tmp_path):
    done = sap.prune_checkpoint(str(folders("llama")), tmp_path / "out", method="magnitude")
    assert done.export.verification["equal"] and done.export.verification["max_difference"] < 1e-5
    manifest = json.loads((tmp_path / "out" / "sap_manifest.json").read_text())
    assert manifest["spec"]["method"] == "magnitude" and manifest["spec"]["kind"] == "prune"
    assert manifest["report"]["weights_sha256"] == done.report["weights_sha256"]
    assert set(manifest["files"]) == {path.name for path in (tmp_path / "out").iterdir()} - {"sap_manifest.json"}
    card = (tmp_path / "out" / "README.md").read_text()
    whole = sap.prune(str(folders("llama")), method="magnitude").model.module
    nonzero = sum(int(torch.count_nonzero(p)) for p in whole.parameters())
    assert "Magnitude" in card and f"{nonzero:,} of them not zero" in card


@pytest.mark.parametrize(("stored", "asked"), [(torch.float16, "auto"), (torch.bfloat16, "auto"),
                                               (torch.bfloat16, "float32")])  # fmt: skip
def test_precision_follows_the_engine_in_memory(calibration, tmp_path, stored, asked):
    folder = save_sharded(tmp_path / "model", "llama-ar", stored)
    asked = {"method": "wanda", "calibration": calibration, "dtype": asked}
    whole = sap.prune(str(folder), **asked)
    done = sap.prune_checkpoint(str(folder), tmp_path / "out", verify=False, **asked)
    assert done.report["weights_sha256"] == whole.report["weights_sha256"]
    assert load_model(str(tmp_path / "out")).dtype == whole.model.dtype


def test_tensors_that_the_class_does_not_know_are_kept(golden, tmp_path):
    shutil.copytree(golden / "tiny-llada", tmp_path / "model")
    extra = torch.arange(6.0)
    add_tensor(tmp_path / "model", "model.transformer.blocks.0.rotary.inv_freq", extra)
    sap.prune_checkpoint(str(tmp_path / "model"), tmp_path / "out", verify=False, method="magnitude")
    assert tensors(tmp_path / "out")["model.transformer.blocks.0.rotary.inv_freq"].equal(extra)


@pytest.mark.parametrize(("fields", "words"), [
    ({"method": "taylor"}, "gradients of the whole model; streamed pruning supports: magnitude, wanda"),
    ({"method": "flap", "pattern": "channels"}, "supports unstructured and N:M"),
    ({"method": "wanda", "pattern": "heads"}, "supports unstructured and N:M"),
    ({"method": "wanda", "allocation": "sensitivity"}, "streamed pruning supports: uniform, owl"),
    ({"method": "wanda", "allocation": "instability"}, "give a finished capture run"),
    ({"method": "heads"}, "give a finished capture run"),
    ({"method": "wanda", "calibration": "missing.npy"}, "does not exist"),
    ({"method": "wanda", "dtype": "int8"}, "dtype int8 can't be pruned"),
    ({"method": "wanda", "device": "spread"}, "one block on one device"),
])  # fmt: skip
def test_what_needs_the_whole_model_is_refused_by_name(folders, tmp_path, fields, words):
    with pytest.raises(InvalidInput, match=words) as caught:
        sap.prune_checkpoint(str(folders("llama")), tmp_path / "out", **fields)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_a_class_that_was_not_tested_is_refused(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=64)).save_pretrained(
        tmp_path / "gpt2"
    )
    with pytest.raises(ModelProblem, match="can't be read block by block; that works for models that load as llama"):
        sap.prune_checkpoint(str(tmp_path / "gpt2"), tmp_path / "out", method="magnitude")


def test_cancelled_it_keeps_finished_blocks_and_goes_on(folders, calibration, tmp_path):
    folder, asked = str(folders("dream")), {"method": "wanda", "calibration": calibration}

    def stop(report):
        if report.stage == "prune" and report.done == 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        sap.prune_checkpoint(folder, tmp_path / "out", progress=stop, verify=False, **asked)
    assert [path.name for path in tmp_path.iterdir()] == [".out.streamed"]
    with pytest.raises(InvalidInput, match=r"another pruning \(other spec\)"):
        sap.prune_checkpoint(folder, tmp_path / "out", method="wanda", sparsity=0.25, calibration=calibration)
    seen = []
    done = sap.prune_checkpoint(
        folder, tmp_path / "out", progress=lambda r: seen.append((r.stage, r.done)), verify=False, **asked
    )
    assert next(layer for stage, layer in seen if stage == "prune") == 2
    assert done.report["weights_sha256"] == sap.prune(folder, **asked).report["weights_sha256"]
    with pytest.raises(InvalidInput, match="exists already"):
        sap.prune_checkpoint(folder, tmp_path / "out", **asked)
    again = sap.prune_checkpoint(folder, tmp_path / "out", overwrite=True, verify=False, method="magnitude")
    assert again.report["method"] == "magnitude" and [path.name for path in tmp_path.iterdir()] == ["out"]


def test_its_spec_says_where_to_write(folders, tmp_path):
    fields = {"model": str(folders("llama")), "method": "magnitude", "out": str(tmp_path / "out"), "verify": False}
    spec = parse_spec({"kind": "prune_checkpoint", **fields})
    assert isinstance(spec, PruneCheckpointSpec)
    done = sap.prune_checkpoint(spec=spec)
    assert done.folder == tmp_path / "out" and done.spec.kind == "prune"
    with pytest.raises(InvalidInput, match=r"out is .*required"):
        PruneCheckpointSpec.build(model="m")
