"""The cells of a sweep, and what is refused before any work."""

from __future__ import annotations

import pytest

from sap_core.errors import InvalidInput, UnknownOption
from sap_core.models.inspection import inspect_model
from sap_core.specs import SweepSpec, parse_spec
from sap_core.sweeps.grid import make_grid


def spec(**fields) -> SweepSpec:
    return SweepSpec.build(**{"model": "m", "methods": ("wanda", "sink")} | fields)


def ids(grid) -> list[str]:
    return [cell.id for cell in grid.cells]


def test_every_combination_once_the_dense_model_first():
    grid = make_grid(spec(sparsities=(0.3, 0.5), seeds=(0, 1)))
    assert ids(grid)[0] == "dense" and grid.cells[0].spec is None
    assert len(set(ids(grid))) == 9 and "sink-unstructured-0.3-s1" in ids(grid)
    cell = next(cell for cell in grid.cells if cell.id == "wanda-unstructured-0.5-s1")
    assert (cell.spec.method, cell.spec.sparsity, cell.spec.seed) == ("wanda", 0.5, 1)


def test_a_pattern_fixes_its_sparsity_and_makes_one_cell():
    grid = make_grid(spec(methods=("wanda",), patterns=("2:4", "unstructured"), sparsities=(0.3, 0.7)))
    assert ids(grid)[1:] == ["wanda-2of4-0.5-s0", "wanda-unstructured-0.3-s0", "wanda-unstructured-0.7-s0"]


def test_a_method_without_chance_runs_for_one_seed():
    assert len(make_grid(spec(methods=("magnitude",), seeds=(3, 4, 5))).cells) == 2


def test_cells_with_the_same_calibration_form_a_group():
    lists = {"methods": ("wanda",), "sparsities": (0.3, 0.5), "seeds": (0, 1), "patterns": ("unstructured", "2:4")}
    cells = make_grid(spec(**lists)).cells
    groups = {cell.group for cell in cells[1:]}
    assert len(groups) == 2 and all(cell.group != "dense" for cell in cells[1:])


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"methods": ("heads", "wanda"), "patterns": ("2:4",)}, "method 'heads' has no pattern 2:4"),
        ({"sparsities": (0.5, 1.5)}, "expected a share in [0, 1)"),
        ({"methods": ("wand",)}, "Did you mean 'wanda'"),
        ({"patterns": ("4:2",)}, "Unknown pattern '4:2'"),
        ({"seeds": (0, 1, 0)}, "seeds lists 0 more than once"),
        ({"methods": ("magnitude",), "orders": ("sequential",)}, "has no order 'sequential'"),
        ({"allocations": ("ramps",)}, "Did you mean 'ramp'"),
        ({"preset": "ablation"}, "not both"),
        ({"methods": ()}, "methods, such as wanda,sink, or a preset"),
        ({"methods": (), "preset": "ablatio"}, "Did you mean 'ablation'"),
    ],
)
def test_what_can_not_be_is_refused_by_name(fields, says):
    with pytest.raises(InvalidInput) as error:
        make_grid(spec(**fields))
    assert says in str(error.value) and "\n" not in str(error.value)


def test_what_can_not_be_is_left_out_with_its_reason_when_asked():
    grid = make_grid(spec(methods=("heads", "wanda"), patterns=("2:4", "unstructured"), skip_invalid=True))
    assert ids(grid) == ["dense", "heads-unstructured-0.5-s0", "wanda-2of4-0.5-s0", "wanda-unstructured-0.5-s0"]
    assert [(one.id, "no pattern 2:4" in one.reason) for one in grid.skipped] == [("heads-2of4-0.5-s0", True)]


def test_an_unknown_name_is_an_error_even_when_skipping():
    with pytest.raises(UnknownOption):
        make_grid(spec(methods=("wand",), skip_invalid=True))


def test_nothing_left_is_an_error():
    with pytest.raises(InvalidInput, match="no combination"):
        make_grid(spec(methods=("heads",), patterns=("2:4",), skip_invalid=True))


def test_cells_are_held_against_the_model(tiny_causal, tiny_diffusion):
    with pytest.raises(InvalidInput, match="never sees"):
        make_grid(spec(methods=("noised_wanda",)), inspect_model(str(tiny_causal)))
    with pytest.raises(InvalidInput, match="whole groups of 7"):
        make_grid(spec(patterns=("3:7",)), inspect_model(str(tiny_diffusion)))


def test_the_ablation_takes_the_method_apart():
    made = {(cell.spec.method, cell.spec.order) for cell in make_grid(spec(methods=(), preset="ablation")).cells[1:]}
    parts = {"wanda", "noised_wanda", "sink", "sink_temporal"}
    orders = {"one_shot", "sequential"}
    floor = {("random", "auto"), ("magnitude", "auto")}
    assert made == {(part, order) for part in parts for order in orders} | floor | {("heads", "auto")}
    cells = [
        cell.spec for cell in make_grid(spec(methods=(), preset="ablation", patterns=("2:4", "unstructured"))).cells[1:]
    ]
    heads = [(cell.pattern, cell.duplicates) for cell in cells if cell.method == "heads"]
    assert heads == [("unstructured", "keep_one"), ("unstructured", "ignore")]  # once, whatever the patterns


def test_orders_and_allocations_are_lists_too():
    grid = make_grid(spec(methods=("sink",), orders=("auto", "sequential"), allocations=("uniform", "ramp")))
    assert ids(grid)[1:] == [
        "sink-unstructured-0.5-s0",
        "sink-unstructured-0.5-allocation=ramp-s0",
        "sink-unstructured-0.5-order=sequential-s0",
        "sink-unstructured-0.5-allocation=ramp-order=sequential-s0",
    ]
    assert grid.cells[-1].spec.allocation == "ramp" and len({cell.group for cell in grid.cells}) == 3


def test_a_sweep_survives_as_a_document():
    made = spec(sparsities=(0.3,))
    assert parse_spec(made.model_dump(mode="json")) == made
