"""Allocations over layers: exact means, the order each rule promises, and what is found in the weights."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sap_core.choices.allocations import ALLOCATIONS
from sap_core.errors import InvalidInput
from sap_core.models.inspection import inspect_model
from sap_core.models.loading import load_model
from sap_core.pruning.api import prune
from sap_core.pruning.planning.allocation import exact_zeros, layer_sparsities
from sap_core.pruning.planning.make_plan import make_plan
from sap_core.pruning.scoring.masks import lowest_of_rows
from sap_core.pruning.strategies.layer_importance import head_stability, loss_increases, outlier_shares
from sap_core.specs import PruneSpec

SIZES = [100, 300, 200, 400]


@pytest.mark.parametrize("name", sorted(ALLOCATIONS))
@pytest.mark.parametrize("sparsity", [0.05, 0.5, 0.97])
def test_the_mean_is_exact_and_every_layer_keeps_something(name, sparsity):
    found = layer_sparsities(name, SIZES, sparsity, width=0.2, values=[3.0, 1.0, 2.0, 9.0], table=[0.1, 0.9, 0.5, 0.2])
    assert np.average(found, weights=SIZES) == pytest.approx(sparsity, abs=1e-12)
    assert min(found) >= 0 and max(found) <= 0.99 + 1e-12


def test_each_rule_goes_the_way_it_says():
    ramp = layer_sparsities("ramp", SIZES, 0.5, width=0.1)
    assert ramp == sorted(ramp, reverse=True) and ramp[0] - ramp[-1] == pytest.approx(0.2)
    back = layer_sparsities("ramp_reverse", SIZES, 0.5, width=0.1)
    assert back == sorted(back)
    owl = layer_sparsities("owl", SIZES, 0.5, width=0.08, values=[3.0, 1.0, 2.0, 9.0])
    assert owl[3] == min(owl) and owl[1] == max(owl) and max(owl) - min(owl) == pytest.approx(0.16)
    assert layer_sparsities("owl", SIZES, 0.5, width=0.08, values=[1.0] * 4) == [0.5] * 4
    table = layer_sparsities("table", [1, 1], 0.5, width=0.1, table=[0.2, 0.4])
    assert table == pytest.approx([0.4, 0.6])


def test_whole_weights_add_up():
    zeros = exact_zeros([10, 10, 10], [0.33, 0.33, 0.34], 10)
    assert sum(zeros) == 10 and set(zeros) <= {3, 4}


def test_rows_that_lose_one_more_are_those_where_it_costs_least():
    import torch

    score = torch.tensor([[1.0, 5.0, 9.0], [1.0, 2.0, 9.0], [1.0, 4.0, 9.0]])
    assert lowest_of_rows(score, 1, 2).tolist() == [[True, False, False], [True, True, False], [True, True, False]]


@pytest.fixture(scope="module")
def model(tiny_diffusion):
    return load_model(str(tiny_diffusion))


@pytest.mark.parametrize(("method", "allocation"), [("wanda", "ramp"), ("magnitude", "owl"), ("sink", "sensitivity")])
def test_the_weights_have_the_allocated_zeros_and_the_total(model, method, allocation):
    pruned = prune(model, method=method, sparsity=0.5, allocation=allocation, samples=2, calibration_length=32)
    weights = sum(m.rows * m.cols for m in model.info.matrices)
    assert pruned.plan.totals()["zeros"] == round(0.5 * weights)
    assert all(row["zeros"] == row["planned_zeros"] for row in pruned.report["matrices"])
    assert pruned.plan.per_layer()["sparsity"].nunique() == 3
    assert pruned.plan.pending == "" and pruned.plan.allocation == allocation
    assert len(pruned.plan.measured) == (0 if allocation == "ramp" else 3)


def test_what_is_measured_leaves_the_model_as_it_was(model):
    from sap_core.pruning.scoring.inputs import Inputs
    from sap_core.pruning.strategies.preparation import calibration_of
    from sap_core.pruning.strategies.report import weights_sha256

    spec = PruneSpec.build(model=model.info.ref, method="magnitude", sparsity=0.9)
    calibration = calibration_of(model, PruneSpec.build(model="m", method="wanda", samples=2, calibration_length=32), 0)
    before = weights_sha256(model)
    plan, inputs = make_plan(model.info, spec), Inputs.of(spec.method, spec)
    increases, shares = loss_increases(model, plan, inputs, calibration), outlier_shares(model, calibration)
    assert weights_sha256(model) == before
    assert len(increases) == len(shares) == 3 and len(set(increases)) == 3 and all(0 <= s < 0.2 for s in shares)


def test_unstable_layers_lose_more(tiny_diffusion):
    rows = [(layer, head, layer / 3 + head / 100) for layer in range(3) for head in range(4)]
    stability = head_stability(pd.DataFrame(rows, columns=["layer", "head", "instability"]))
    info = inspect_model(str(tiny_diffusion))
    spec = PruneSpec.build(model=info.ref, method="wanda", allocation="instability")
    shares = make_plan(info, spec, measured=stability).per_layer()["sparsity"].tolist()
    assert shares == sorted(shares) and shares[0] < 0.5 < shares[2]
    waiting = make_plan(info, spec)
    assert "capture" in waiting.pending and waiting.per_layer()["sparsity"].tolist() == [0.5] * 3


@pytest.mark.parametrize(("fields", "words"), [
    ({"allocation": "owls"}, "Did you mean 'owl'"),
    ({"allocation": "owl", "pattern": "2:4"}, "supported with patterns unstructured"),
    ({"allocation": "ramp", "method": "heads"}, "supported with patterns unstructured"),
    ({"allocation": "table", "allocation_table": (0.5,)}, "each of the 3 layers; got 1"),
    ({"allocation": "table"}, "each of the 3 layers; got none"),
    ({"allocation": "table", "allocation_table": (0.5, 0.5, 1.5)}, r"shares in \[0, 1\)"),
    ({"allocation_table": (0.5, 0.5, 0.5)}, "belongs to allocation 'table'"),
    ({"run": "somewhere"}, "run belongs to method"),
])  # fmt: skip
def test_what_does_not_go_together_is_refused(model, fields, words):
    with pytest.raises(InvalidInput, match=words):
        prune(model, **{"method": "magnitude", "sparsity": 0.5} | fields)
