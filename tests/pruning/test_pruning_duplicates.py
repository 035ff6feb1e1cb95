"""The last of a group of heads that attend alike stays, unless it is said that it may go."""

from __future__ import annotations

import pandas as pd
import pytest

from sap_core.errors import InvalidInput
from sap_core.models.loading import load_model
from sap_core.pruning.api import plan_pruning, prune
from sap_core.pruning.planning.redundant_heads import first_allowed, keep_one
from sap_core.pruning.scoring import head_ranking as module


@pytest.fixture
def model(tiny_diffusion, monkeypatch):
    """Head 0 of every layer is the most unstable; heads (0, 0) and (1, 0) are a pair, and so are (2, 0) and (2, 1)."""
    rows = [(layer, head, 1 - head / 10 - layer / 100) for layer in range(3) for head in range(4)]
    table = pd.DataFrame(rows, columns=["layer", "head", "instability"]).sort_values("instability", ascending=False)
    table["importance"] = -table["instability"]
    table["rank"] = range(1, 13)
    groups = [[(0, 0), (1, 0)], [(2, 0), (2, 1)]]
    monkeypatch.setattr(module, "_on_own_text", lambda *_: (table, groups))
    return load_model(str(tiny_diffusion))


def test_the_next_in_order_goes_in_the_place_of_the_last_of_a_group():
    order = [(0, 0), (1, 0), (2, 0), (0, 1)]
    sizes = dict.fromkeys(range(3), 2)
    assert first_allowed(order, 3, sizes, []) == [(0, 0), (1, 0), (2, 0)]
    assert first_allowed(order, 3, sizes, [[(0, 0), (1, 0)]]) == [(0, 0), (2, 0)]  # (0, 1) is its layer's last
    assert first_allowed(order, 3, {**sizes, 0: 3}, [[(0, 0), (1, 0)]]) == [(0, 0), (2, 0), (0, 1)]


def test_a_group_gets_its_most_valued_unit_back_and_the_layer_loses_another():
    scores = [[1.0, 2.0, 3.0], [1.0, 1.5, 9.0]]
    gone, saved = keep_one([[0], [0, 1]], scores, [[(0, 0), (1, 0), (1, 1)]], 1)
    assert (gone, saved) == ([[0], [0, 2]], [(1, 1)])
    assert keep_one([[0], [0]], scores, [[(0, 0), (1, 1)]], 1) == ([[0], [0]], [])  # (1, 1) stays anyway
    assert keep_one([[0]], [[1.0, 2.0]], [[(0, 0), (0, 1)]], 2)[0] == [[1]]  # both heads are of unit 0
    with pytest.raises(InvalidInput, match="duplicates 'ignore'"):
        keep_one([[0]], [[1.0, 2.0]], [[(0, 0)], [(0, 1)]], 1)


def test_a_plan_of_heads_follows_the_rule_unless_told(model):
    kept = plan_pruning(model, method="heads", sparsity=0.34)
    assert kept.heads == ((0, 0), (0, 1), (1, 1), (2, 0))
    told = plan_pruning(model, method="heads", sparsity=0.34, duplicates="ignore")
    assert told.heads == ((0, 0), (0, 1), (1, 0), (2, 0))
    named = plan_pruning(model, method="heads", heads=((0, 0), (1, 0)))
    assert named.heads == ((0, 0), (1, 0))  # whoever names them has told


@pytest.mark.parametrize("method", ["heads", "magnitude"])
def test_what_is_taken_out_follows_the_rule_too(model, method):
    """Two groups of two heads per layer; pair (2, 0), (2, 1) lies in one of them, which is all of layer 2's group 0."""
    pruned = prune(model, method=method, pattern="heads", sparsity=0.5)
    removed = pruned.report["removed"]
    assert removed["duplicates"]["groups"] == 2 and removed["per_layer"][2] == [1]
    assert (
        0 not in (removed["per_layer"][0] + removed["per_layer"][1])
        or removed["per_layer"][0] != removed["per_layer"][1]
    )
    told = prune(model, method="heads", pattern="heads", sparsity=0.5, duplicates="ignore")
    assert told.report["removed"]["per_layer"] == [[0], [0], [0]] and "duplicates" not in told.report["removed"]


def test_the_groups_come_from_a_real_generation(tiny_diffusion):
    model = load_model(str(tiny_diffusion))
    pruned = prune(model, method="heads", pattern="heads", sparsity=0.5)
    groups = module._on_own_text(model, 0, None)[1]
    for group in groups:
        assert any(head // 2 not in pruned.report["removed"]["per_layer"][layer] for layer, head in group)


def test_the_option_is_refused_where_no_head_goes(model):
    with pytest.raises(InvalidInput, match="duplicates concerns heads"):
        plan_pruning(model, method="wanda", duplicates="ignore")
