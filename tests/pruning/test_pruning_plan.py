"""Plans: what they promise is what is found in the weights, in milliseconds, without torch."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest

from sap_core.choices.methods import METHODS
from sap_core.errors import InvalidInput
from sap_core.models.inspection import inspect_model
from sap_core.models.loading import load_model
from sap_core.pruning.api import plan_pruning, prune
from sap_core.pruning.planning.make_plan import make_plan
from sap_core.pruning.planning.plan import PruningPlan
from sap_core.specs import PruneSpec


@pytest.fixture(scope="module")
def model(tiny_diffusion):
    return load_model(str(tiny_diffusion))


def fake_ranking(layers: int, heads: int) -> pd.DataFrame:
    """Ranks 1, 2, 3 ... in the order (0, 0), (0, 1) ..."""
    rows = [(layer, head) for layer in range(layers) for head in range(heads)]
    return pd.DataFrame({"layer": [r[0] for r in rows], "head": [r[1] for r in rows], "rank": range(1, len(rows) + 1)})


@pytest.mark.parametrize(("method", "pattern", "sparsity"), [
    ("magnitude", "unstructured", 0.3), ("magnitude", "2:4", 0.5), ("wanda", "unstructured", 0.7),
    ("wanda", "4:8", 0.5), ("sink", "2:4", 0.5), ("noised_wanda", "unstructured", 0.25), ("wanda", "unstructured", 0.0),
    ("sparsegpt", "unstructured", 0.6), ("sink_sparsegpt", "2:4", 0.5), ("noised_sparsegpt", "unstructured", 0.5),
    ("sink_temporal", "unstructured", 0.5),
    ("ria", "1:4", 0.25), ("ria", "unstructured", 0.5), ("taylor", "unstructured", 0.5), ("random", "3:4", 0.75),
])  # fmt: skip
def test_the_weights_hold_what_the_plan_promised(model, method, pattern, sparsity):
    arguments = {"method": method, "pattern": pattern, "sparsity": sparsity, "samples": 3}
    plan = plan_pruning(model, **arguments)
    pruned = prune(model, **arguments)
    assert pruned.plan == plan
    assert len(pruned.report["matrices"]) == len(model.info.matrices) == 21
    for row in pruned.report["matrices"]:
        assert row["zeros"] == row["planned_zeros"], row["name"]
    assert plan.totals()["zeros"] == sum(row["zeros"] for row in pruned.report["matrices"])
    assert abs(pruned.report["sparsity"] - sparsity) < 0.02


def test_weights_can_compete_within_rows_or_matrices_and_be_seen_in_order_or_at_once(model):
    by_row = prune(model, method="magnitude", sparsity=0.5, compare="row")
    for name, module in by_row.model.linears(0).items():
        assert ((module.weight == 0).sum(1) == module.in_features // 2).all(), name
    assert by_row.plan.compare == "row"
    hashes = {
        prune(model, method="sink", sparsity=0.5, samples=2, **options).report["weights_sha256"]
        for options in ({}, {"order": "sequential"}, {"compare": "matrix"}, {"order": "one_shot", "compare": "row"})
    }
    assert len(hashes) == 3  # one-shot and rows are what sink does by itself


def test_a_plan_from_the_headers_equals_one_from_the_model_and_survives_json(model, tiny_diffusion):
    plan = plan_pruning(str(tiny_diffusion), method="wanda", sparsity=0.5)
    assert plan == plan_pruning(model, method="wanda", sparsity=0.5)
    assert PruningPlan.from_dict(plan.to_dict()) == plan
    table = plan.per_layer()
    assert table["layer"].tolist() == [0, 1, 2]
    assert table["sparsity"].tolist() == [0.5] * 3


def test_an_edited_plan_is_followed(model):
    plan = plan_pruning(model, method="magnitude", sparsity=0.5)
    document = plan.to_dict()
    document["matrices"][0]["zeros"] = 100
    pruned = prune(model, plan=PruningPlan.from_dict(document))
    assert pruned.report["matrices"][0]["zeros"] == 100
    assert pruned.report["matrices"][1]["zeros"] == plan.matrices[1].zeros


def test_pruning_with_a_plan_applied_twice_changes_nothing_more(model):
    once = prune(model, method="magnitude", pattern="2:4", sparsity=0.5)
    twice = prune(once.model, method="magnitude", pattern="2:4", sparsity=0.5)
    assert once.report["weights_sha256"] == twice.report["weights_sha256"]


def test_the_most_unstable_heads_go_but_never_a_layers_last(tiny_diffusion):
    info = inspect_model(str(tiny_diffusion))
    spec = PruneSpec.build(model=info.ref, method="heads", sparsity=0.5)
    plan = make_plan(info, spec, fake_ranking(3, 4))
    assert plan.heads == ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2))
    assert plan.per_layer()["heads"].tolist() == [3, 3, 0]
    with pytest.raises(InvalidInput, match="same model"):
        make_plan(info, spec, fake_ranking(2, 4))
    assert "6 heads" in make_plan(info, spec).pending


def test_chosen_heads_are_silenced_and_no_other(model):
    import torch

    pruned = prune(model, method="heads", heads=((1, 3), (2, 0)))
    for layer in range(3):
        weight = pruned.model.output_projection(layer).weight
        gone = [bool((weight[:, h * 8 : (h + 1) * 8] == 0).all()) for h in range(4)]
        assert gone == [(layer, head) in ((1, 3), (2, 0)) for head in range(4)]
    assert torch.equal(pruned.model.output_projection(0).weight, model.output_projection(0).weight)
    with pytest.raises(InvalidInput, match="head 4 of layer 0 does not exist"):
        prune(model, method="heads", heads=((0, 4),))


def test_heads_without_a_run_watches_the_model_generate(model):
    pruned = prune(model, method="heads", sparsity=0.25)
    assert len(pruned.plan.heads) == 3
    assert pruned.plan.pending == ""


@pytest.mark.parametrize(("fields", "error", "words"), [
    ({"method": "wnda"}, InvalidInput, "Did you mean 'wanda'"),
    ({"pattern": "4:2"}, InvalidInput, "unstructured, 2:4"),
    ({"pattern": "2:4", "sparsity": 0.6}, InvalidInput, "zeroes 0.5"),
    ({"sparsity": 1.0}, InvalidInput, r"\[0, 1\)"),
    ({"sparsity": -0.1}, InvalidInput, r"\[0, 1\)"),
    ({"method": "magnitude", "pattern": "3:6"}, InvalidInput, "whole groups of 6"),
    ({"method": "heads", "pattern": "2:4"}, InvalidInput, "supports: unstructured"),
    ({"method": "taylor", "order": "sequential"}, InvalidInput, "it supports: one_shot"),
    ({"method": "magnitude", "order": "one_shot"}, InvalidInput, "does not look at inputs"),
    ({"method": "sparsegpt", "compare": "row"}, InvalidInput, "within a block"),
    ({"pattern": "2:4", "compare": "row"}, InvalidInput, "within 4 consecutive inputs"),
    ({"heads": ((0, 0),)}, InvalidInput, "belong to method 'heads'"),
    ({"calibration": "missing.txt"}, InvalidInput, "does not exist"),
])  # fmt: skip
def test_bad_requests_are_refused_in_one_line(model, fields, error, words):
    with pytest.raises(error, match=words) as caught:
        prune(model, **{"method": "wanda", "sparsity": 0.5} | fields)
    assert "\n" not in str(caught.value)


def test_a_plan_of_another_model_is_refused(model, golden):
    plan = plan_pruning(str(golden / "tiny-llada"), method="magnitude", sparsity=0.5)
    with pytest.raises(InvalidInput, match="make the plan for this model"):
        prune(model, plan=plan)


def test_masking_methods_are_refused_on_an_autoregressive_model(tiny_causal):
    with pytest.raises(InvalidInput, match="use wanda"):
        prune(str(tiny_causal), method="noised_wanda", sparsity=0.5)
    with pytest.raises(InvalidInput, match="use sparsegpt"):
        prune(str(tiny_causal), method="noised_sparsegpt", sparsity=0.5)
    with pytest.raises(InvalidInput, match="use sink"):
        prune(str(tiny_causal), method="sink_temporal", sparsity=0.5)
    assert prune(str(tiny_causal), method="sink", sparsity=0.5, samples=2).report["sparsity"] == 0.5


def test_planning_imports_no_torch(tiny_diffusion):
    code = (
        "import sys, time; from sap_core.models import inspect_model\n"
        "from sap_core.pruning.planning.make_plan import make_plan\n"
        "from sap_core.specs import PruneSpec; from sap_core.choices.methods import METHODS\n"
        f"info = inspect_model({str(tiny_diffusion)!r}); spec = PruneSpec.build(model=info.ref, method='wanda')\n"
        "assert make_plan(info, spec).totals()['sparsity'] == 0.5; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_method_says_where_it_comes_from():
    assert all(method.title and method.help and method.source for method in METHODS.values())
