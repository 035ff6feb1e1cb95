"""Number inputs take bounds, default and help from the specs' fields."""

from __future__ import annotations

from sap_core.specs import PruneSpec
from sap_core.specs.options import help_of
from sap_core.specs.prune_search import SearchPruneSpec
from sap_core.ui.widgets.fields import number_of


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
