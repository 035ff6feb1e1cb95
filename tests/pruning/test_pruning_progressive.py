"""The quality gate: nothing passes that costs more than the budget, and every decision is told."""

from __future__ import annotations

import pytest

from sap_core.errors import InvalidInput
from sap_core.models.loading import load_model
from sap_core.pruning.api import plan_pruning, prune
from sap_core.pruning.strategies import progressive as module
from sap_core.pruning.strategies.progressive import prune_progressively

FIELDS = {"samples": 2, "calibration_length": 32}


@pytest.fixture
def model(tiny_diffusion, monkeypatch):
    """Validation on few texts; a model of random weights has no quality to lose, so the loss is counted: half the
    share of zeros in layer 0, twice the share in layer 1, none of layer 2's."""
    monkeypatch.setattr("sap_core.evaluation.texts.VALIDATION_TEXTS", 2)

    def counted(self):
        share = [
            sum(int((m.weight == 0).sum()) for m in self.model.linears(layer).values())
            / sum(m.weight.numel() for m in self.model.linears(layer).values())
            for layer in range(3)
        ]
        return 0.5 * share[0] + 2 * share[1]

    monkeypatch.setattr(module._Gate, "_rise", counted)
    return load_model(str(tiny_diffusion))


@pytest.mark.parametrize("method", ["sink", "wanda"])
def test_a_layer_gives_way_as_far_as_the_budget_says(model, method):
    """Budget 0.6, so 0.2, 0.4 and 0.6 after the layers: layer 0 passes at 0.375 (0.19), layer 1 at 0.125 would still
    be 0.19 + 0.25, over 0.4, so it is left alone; layer 2 costs nothing and passes whole."""
    pruned = prune_progressively(model, method=method, sparsity=0.5, budget=0.6, **FIELDS)
    first, second, third = pruned.report["decisions"]
    assert [sparsity for sparsity, _ in first["tried"]] == [0.5, 0.375] and first["sparsity"] == 0.375
    assert len(second["tried"]) == 4 and second["sparsity"] == 0.0
    assert third["tried"][0][0] == third["sparsity"] == 0.5
    assert [d["allowed"] for d in pruned.report["decisions"]] == pytest.approx([0.2, 0.4, 0.6])
    assert all(d["loss"] <= d["allowed"] for d in pruned.report["decisions"])
    for row in pruned.report["matrices"]:
        assert row["zeros"] == row["planned_zeros"], row["name"]
    untouched = pruned.model.module.model.layers[1].mlp.up_proj.weight
    assert untouched.equal(model.module.model.layers[1].mlp.up_proj.weight)


def test_with_room_enough_it_is_plain_pruning(model):
    gated = prune_progressively(model, method="magnitude", sparsity=0.5, budget=9.0)
    assert gated.report["weights_sha256"] == prune(model, method="magnitude", sparsity=0.5).report["weights_sha256"]


def test_a_pattern_passes_whole_or_not_at_all(model):
    pruned = prune_progressively(model, method="magnitude", pattern="2:4", sparsity=0.5, budget=0.9)
    assert [d["sparsity"] for d in pruned.report["decisions"]] == [0.5, 0.0, 0.5]
    assert [len(d["tried"]) for d in pruned.report["decisions"]] == [1, 1, 1]


def test_what_has_no_strength_per_layer_is_refused(model):
    for fields in ({"pattern": "channels"}, {"allocation": "ramp"}):
        with pytest.raises(InvalidInput, match="with allocation uniform"):
            prune_progressively(model, method="magnitude", sparsity=0.5, **fields)
    with pytest.raises(InvalidInput, match="budget is -1"):
        prune_progressively(model, method="magnitude", sparsity=0.5, budget=-1)


def test_the_rise_is_that_of_the_likelihood(tiny_diffusion, monkeypatch):
    """Unpatched: a layer that is left alone costs nothing, to the last digit."""
    monkeypatch.setattr("sap_core.evaluation.texts.VALIDATION_TEXTS", 2)
    monkeypatch.setattr(module, "STRENGTHS", (0.0,))
    pruned = prune_progressively(str(tiny_diffusion), method="magnitude", sparsity=0.5, budget=0.0)
    assert [d["loss"] for d in pruned.report["decisions"]] == [0.0, 0.0, 0.0]


def test_prune_with_a_budget_is_the_same_and_can_be_made_again_from_its_plan(model):
    fields = {"method": "wanda", "sparsity": 0.5, **FIELDS}
    first = prune(model, budget=0.6, **fields)
    assert first.plan.pending == "" and len(first.report["decisions"]) == 3
    again = prune(model, spec=first.spec, plan=first.plan)
    assert again.report["weights_sha256"] == first.report["weights_sha256"] and "decisions" not in again.report
    assert "budget 60.0%" in plan_pruning(model, budget=0.6, **fields).pending
