"""Layers that lose different numbers of units: exact means, physical removal, exports that load elsewhere."""

from __future__ import annotations

import json

import pytest
import torch

from sap_core.attention.recorder import record_attention
from sap_core.errors import InvalidInput, OperationFailed
from sap_core.export.checkpoint import export_checkpoint
from sap_core.models.inspection import inspect_model
from sap_core.models.loading import load_model
from sap_core.models.resizing.remove_units import remove_units, zero_units
from sap_core.models.resizing.units import layer_units, remaining_shape, shared_out
from sap_core.pruning.api import plan_pruning, prune
from sap_core.pruning.planning.plan import PruningPlan
from sap_core.pruning.structured.unit_choice import counts_across_layers

TOKENS = torch.arange(4, 28)[None]
FIELDS = {"samples": 2, "calibration_length": 24}


@pytest.fixture(scope="module")
def model(tiny_diffusion):
    return load_model(str(tiny_diffusion))


def test_the_total_is_that_of_the_uniform_plan_and_every_layer_keeps_one():
    assert shared_out([6, 6, 6], [0.5, 0.5, 0.5], 9) == [3, 3, 3]
    assert shared_out([6, 6, 6], [0.7, 0.5, 0.3], 9) == [4, 3, 2]
    assert shared_out([2, 2, 2], [0.99, 0.5, 0.01], 3) == [1, 1, 1]  # wanted 1.98, 1, 0.02: one stays everywhere
    scores = [torch.tensor([0.1, 0.2, 0.3]), torch.tensor([5.0, 6.0, 7.0]), torch.tensor([0.05, 9.0, 9.0])]
    assert counts_across_layers(scores, 3, relative=False) == [2, 0, 1]
    assert counts_across_layers(scores, 6, relative=False) == [2, 2, 2]


@pytest.mark.parametrize(("method", "unit", "allocation"), [
    ("magnitude", "channels", "ramp"), ("sink", "channels", "owl"), ("magnitude", "channels", "global"),
    ("wanda", "channels", "sensitivity"),
])  # fmt: skip
def test_the_uneven_model_equals_the_one_with_the_units_silenced(model, method, unit, allocation):
    pruned = prune(model, method=method, pattern=unit, sparsity=0.5, allocation=allocation, **FIELDS)
    gone = pruned.report["removed"]["per_layer"]
    assert sum(map(len, gone)) == 3 * 32 and pruned.plan.totals()["zeros"] == 96 * 3 * 32
    assert layer_units(pruned.model.info, unit) == [64 - len(out) for out in gone]
    if allocation == "ramp":
        assert [len(out) for out in gone] == [37, 32, 27] and pruned.plan.layer_shapes == ((2, 27), (2, 32), (2, 37))
        assert PruningPlan.from_dict(json.loads(json.dumps(pruned.plan.to_dict()))) == pruned.plan
    copy = model.clone()
    for layer, out in enumerate(gone):
        zero_units(copy, layer, unit, out)
    assert (pruned.model.logits(TOKENS) - copy.logits(TOKENS)).abs().max() < 1e-5
    assert not torch.equal(copy.logits(TOKENS), model.logits(TOKENS))


def test_the_table_says_how_many_heads_each_layer_keeps(model):
    fields = {"method": "random", "pattern": "heads", "sparsity": 0.5, "allocation": "table", "duplicates": "ignore"}
    plan = plan_pruning(model, allocation_table=(0.5, 0.5, 0.5), **fields)
    assert plan.layer_shapes == () and plan.loads == "stock transformers"
    wide = plan_pruning(model, **{**fields, "sparsity": 0.67}, allocation_table=(0.5, 0.5, 0.5))
    assert wide.shape["kv_heads"] == 1


def test_uneven_heads_are_pruned_and_read_again_and_what_needs_a_grid_of_heads_says_so(model, tmp_path):
    fields = {"method": "magnitude", "pattern": "heads", "sparsity": 0.5, "duplicates": "ignore"}
    pruned = prune(model, allocation="table", allocation_table=(0.9, 0.5, 0.1), **{**fields, "sparsity": 0.5})
    assert layer_units(pruned.model.info, "heads") == [1, 1, 1]  # of two, one stays everywhere
    shape = remaining_shape(model.info, "heads", [1, 0, 1])
    small = remove_units(model.clone(), "heads", [[0], [], [1]], shape)
    assert (
        layer_units(small.info, "heads") == [1, 2, 1]
        and shape.words() == "3 layers, 2 to 4 heads, 1 to 2 key-value heads, 64 channels"
    )
    export_checkpoint(small, tmp_path / "out", verify=False)
    again = load_model(str(tmp_path / "out"))
    assert again.logits(TOKENS).equal(small.logits(TOKENS))
    assert prune(again, method="noised_wanda", sparsity=0.5, **FIELDS).report["sparsity"] == pytest.approx(
        0.5, abs=0.01
    )
    with pytest.raises(InvalidInput, match="different numbers of heads; use a method"):
        prune(again, method="sink", sparsity=0.5)
    with pytest.raises(InvalidInput, match="duplicates 'ignore'"):
        prune(again, method="magnitude", pattern="heads", sparsity=0.5)
    with pytest.raises(OperationFailed, match="no grid"), record_attention(again) as recorder:
        again.logits(TOKENS)
        recorder.collect()


@pytest.mark.usefixtures("warm_python")
@pytest.mark.slow
def test_an_uneven_export_says_so_before_and_loads_in_a_fresh_process(model, tmp_path):
    fields = {"method": "flap", "pattern": "channels", "sparsity": 0.5, "allocation": "ramp", **FIELDS}
    assert "trust_remote_code=True" in plan_pruning(model, **fields).loads
    pruned = prune(model, **fields)
    report = export_checkpoint(pruned, tmp_path / "out")
    assert report.verification["equal"] and not report.verification["own_package_imported"]
    assert report.verification["class"] == "PerLayerLlamaForCausalLM"
    assert "trust_remote_code=True" in report.code and "modeling_per_layer.py" in report.files
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert [config["per_layer_config"][str(i)]["intermediate_size"] for i in range(3)] == [27, 32, 37]
    again = load_model(str(tmp_path / "out"))  # here without running what lies in the folder
    assert again.logits(TOKENS).equal(pruned.model.logits(TOKENS))
    info = inspect_model(str(tmp_path / "out"))
    assert info.parameters == pruned.model.info.parameters and info.heads == pruned.model.info.heads
    assert layer_units(info, "channels") == [27, 32, 37]
    # What was uneven is pruned, exported and read again like any other model.
    twice = prune(again, method="magnitude", pattern="channels", sparsity=0.25)
    assert layer_units(twice.model.info, "channels") == [27 - 6, 32 - 8, 37 - 9]
    fewer = prune(again, method="magnitude", pattern="layers", sparsity=0.34)
    masked = prune(again, method="magnitude", sparsity=0.5)
    for number, one in enumerate((twice, fewer, masked)):
        export_checkpoint(one, tmp_path / str(number), verify=False)
        assert load_model(str(tmp_path / str(number))).logits(TOKENS).equal(one.model.logits(TOKENS))


@pytest.mark.usefixtures("warm_python")
@pytest.mark.slow
def test_a_folder_with_changed_code_is_not_run(model, tmp_path):
    from sap_core.export.verify import verify_checkpoint

    fields = {"method": "magnitude", "pattern": "channels", "sparsity": 0.5, "allocation": "ramp_reverse"}
    export_checkpoint(prune(model, **fields), tmp_path / "out", verify=False)
    code = tmp_path / "out" / "modeling_per_layer.py"
    code.write_text(code.read_text() + "\nopen('ran', 'w')\n")
    with pytest.raises(OperationFailed, match="does not load"):
        verify_checkpoint(tmp_path / "out")
    assert not list(tmp_path.rglob("ran"))


@pytest.mark.parametrize(("fields", "words"), [
    ({"pattern": "layers", "allocation": "ramp"}, "supported with patterns"),
    ({"allocation": "global"}, "supported with patterns heads and channels"),
])  # fmt: skip
def test_what_can_not_be_uneven_is_refused(model, fields, words):
    with pytest.raises(InvalidInput, match=words):
        plan_pruning(model, method="magnitude", sparsity=0.5, **fields)


def test_a_family_with_its_own_config_has_one_width(golden):
    with pytest.raises(InvalidInput, match="use allocation uniform"):
        plan_pruning(
            str(golden / "tiny-llada"), method="magnitude", pattern="channels", sparsity=0.5, allocation="ramp"
        )
