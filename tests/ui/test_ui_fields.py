"""Number inputs take bounds, default and help from the specs' fields."""

from __future__ import annotations

import ast
from pathlib import Path

from sap_core.specs import PruneSpec
from sap_core.specs.options import help_of
from sap_core.specs.prune_search import SearchPruneSpec
from sap_core.ui.widgets.fields import number_of

UI = Path(__file__).parents[2] / "sap_core" / "ui"


def test_bounds_and_default_are_those_of_the_field():
    levels = number_of(PruneSpec, "noise_levels", most=7)
    expected = {"min_value": 1, "max_value": 50, "value": 10, "step": 1, "help": help_of(PruneSpec, "noise_levels")}
    assert levels == expected
    width = number_of(PruneSpec, "allocation_width", most=1, step=0.01)
    assert (width["min_value"], width["max_value"], width["value"]) == (0.01, 0.5, 0.08)


def test_an_upper_bound_is_the_forms_where_the_field_has_none():
    length = number_of(PruneSpec, "calibration_length", most=1000)
    assert (length["min_value"], length["max_value"], length["value"]) == (1, 1000, None)
    assert all(type(length[key]) is int for key in ("min_value", "max_value", "step"))


def test_a_bound_that_is_excluded_is_not_offered():
    speed = number_of(SearchPruneSpec, "target_speedup", most=20, step=0.05, value=1.3)
    assert (speed["min_value"], speed["max_value"], speed["value"]) == (1.05, 20.0, 1.3)


def test_numbers_of_the_forms_come_from_the_specs():
    """What has no field of a spec: how many seeds, and the step of two replays."""
    by_hand = set()
    for path in (path for page in ("capture", "prune", "tradeoff") for path in (UI / page).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or any(word.arg is None for word in node.keywords):
                continue
            if getattr(node.func, "attr", "") in ("number_input", "slider"):
                by_hand.add(ast.literal_eval(node.args[0]))
            elif getattr(node.func, "id", "") == "address_number":  # (how it is drawn, label, ...)
                by_hand.add(ast.literal_eval(node.args[1]))
    assert by_hand == {"Number of seeds", "Step of both"}
