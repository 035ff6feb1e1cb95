"""Where no method is named the one that measured best is used, by every door, and the spec says which it was."""

from __future__ import annotations

import json

import pytest

from sap_core import cli
from sap_core.errors import InvalidInput
from sap_core.models.inspection import inspect_model
from sap_core.pruning.api import plan_pruning, prune
from sap_core.pruning.planning.defaults import best_recipe, with_method


@pytest.mark.parametrize(
    ("pattern", "mode", "diffusion", "causal"),
    [
        ("unstructured", "direct", ("noised_sparsegpt", "owl", None), ("sparsegpt", "owl", None)),
        ("unstructured", "progressive", ("noised_sparsegpt", None, None), ("sparsegpt", None, None)),
        ("2:4", "direct", ("noised_sparsegpt", None, None), ("sparsegpt", None, None)),
        ("heads", "direct", ("sink", None, "weights"), ("wanda", None, "weights")),
        ("channels", "direct", ("sink", None, "weights"), ("wanda", None, "weights")),
        ("layers", "direct", ("sink", None, None), ("wanda", None, None)),
        ("unstructured", "search", ("sink", None, None), ("wanda", None, None)),
    ],
)
def test_the_recipe_follows_pattern_and_objective(tiny_diffusion, tiny_causal, pattern, mode, diffusion, causal):
    for folder, expected in ((tiny_diffusion, diffusion), (tiny_causal, causal)):
        found = best_recipe(inspect_model(str(folder)), pattern, mode)
        assert (found["method"], found.get("allocation"), found.get("compensate")) == expected


def test_what_is_named_stays_and_a_named_method_is_as_published(tiny_diffusion):
    info = inspect_model(str(tiny_diffusion))
    named = {"method": "wanda", "pattern": "heads"}
    assert with_method(named, info) == named
    assert with_method({"pattern": "heads", "compensate": "none"}, info)["compensate"] == "none"
    assert with_method({"allocation": "ramp", "method": None}, info) == {
        "method": "noised_sparsegpt",
        "allocation": "ramp",
    }


def test_prune_without_a_method_says_what_it_did(tiny_diffusion):
    found = prune(str(tiny_diffusion), sparsity=0.5, samples=2)
    assert (found.spec.method, found.spec.allocation) == ("noised_sparsegpt", "owl")
    assert abs(found.report["sparsity"] - 0.5) < 0.01
    assert plan_pruning(str(tiny_diffusion), pattern="channels").method == "sink"


def test_the_command_line_does_the_same(tiny_causal, capsys):
    with pytest.raises(SystemExit) as end:
        cli.app(["prune", "--model", str(tiny_causal), "--pattern", "2:4", "--dry-run", "--json"])
    assert end.value.code == 0
    assert json.loads(capsys.readouterr().out)["plan"]["method"] == "sparsegpt"


def test_an_unknown_model_is_named_before_anything(tmp_path):
    with pytest.raises(InvalidInput, match="nowhere"):
        prune(str(tmp_path / "nowhere"), sparsity=0.5)
