"""One checkpoint for several sizes: the order of importance beside the weights, cut when it is loaded."""

from __future__ import annotations

import json

import pytest
import torch

from sap_core.errors import InvalidInput
from sap_core.evaluation.api import evaluate
from sap_core.export.checkpoint import export_checkpoint
from sap_core.export.elastic import export_elastic
from sap_core.models.loading import load_model
from sap_core.models.resizing.elastic import FILE
from sap_core.models.resizing.remove_units import zero_units
from sap_core.pruning.strategies.elastic import _last_of_groups_first

TOKENS = torch.arange(4, 28)[None]


@pytest.fixture(scope="module")
def folder(tiny_diffusion, tmp_path_factory):
    out = tmp_path_factory.mktemp("elastic") / "out"
    report = export_elastic(str(tiny_diffusion), out, method="magnitude", verify=False)
    assert FILE in report.files and FILE in json.loads((out / "sap_manifest.json").read_text())["files"]
    return out


def test_whole_it_is_the_dense_model(folder, tiny_diffusion):
    dense = load_model(str(tiny_diffusion)).logits(TOKENS)
    assert load_model(str(folder)).logits(TOKENS).equal(dense)
    assert load_model(str(folder), keep=1.0).logits(TOKENS).equal(dense)


def test_a_part_of_it_is_the_dense_model_without_its_least_important_units(folder, tiny_diffusion):
    small = load_model(str(folder), keep=0.5)
    info = small.info
    assert (info.kv_heads, info.heads, info.ffn) == (1, 2, 32) and info.parameters < load_model(
        str(folder)
    ).info.parameters
    order = json.loads((folder / FILE).read_text())["units"]
    copy = load_model(str(tiny_diffusion))
    for layer in range(3):
        channels = copy.module.get_submodule(f"model.layers.{layer}.mlp.down_proj").weight.abs().sum(0)
        assert order["channels"][layer][0] == int(channels.argmax())
        for unit, left in (("heads", 1), ("channels", 32)):
            zero_units(copy, layer, unit, order[unit][layer][left:])
    assert (small.logits(TOKENS) - copy.logits(TOKENS)).abs().max() < 1e-5


def test_a_part_can_be_measured_and_written_as_a_model_of_its_own(folder, tmp_path):
    found = evaluate(str(folder), str(folder), keep=0.5, samples=2, draws=2, tasks=False, generate=0)
    assert (
        found["ratios"]["parameters"] < 1 and found["baseline"]["parameters"] == load_model(str(folder)).info.parameters
    )
    small = load_model(str(folder), keep=0.5)
    report = export_checkpoint(small, tmp_path / "small", verify=False)
    assert FILE not in report.files
    assert load_model(str(tmp_path / "small")).logits(TOKENS).equal(small.logits(TOKENS))


def test_what_stands_for_a_group_of_duplicates_comes_first():
    order = [[0, 1, 2], [2, 1, 0]]
    assert _last_of_groups_first(order, [[(0, 1), (1, 0)]], 1) == [[1, 0, 2], [2, 1, 0]]
    assert _last_of_groups_first(order, [], 1) == order


@pytest.mark.parametrize(("keep", "words"), [(0.0, r"a share in \(0, 1\]"), (1.5, r"a share in \(0, 1\]")])
def test_shares_outside_are_refused(folder, keep, words):
    with pytest.raises(InvalidInput, match=words):
        load_model(str(folder), keep=keep)


def test_what_has_no_order_or_no_units_is_refused(tiny_diffusion, tmp_path):
    with pytest.raises(InvalidInput, match="no elastic checkpoint"):
        load_model(str(tiny_diffusion), keep=0.5)
    with pytest.raises(InvalidInput, match="method 'sparsegpt' has no pattern heads"):
        export_elastic(str(tiny_diffusion), tmp_path / "out", method="sparsegpt")
