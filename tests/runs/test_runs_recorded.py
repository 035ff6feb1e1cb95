"""The runs that come with the package: found by name, whole, of the shipped models, and never changed."""

from __future__ import annotations

import pytest

import sap_core as sap
from sap_core.errors import RunProblem, UnknownOption
from sap_core.runs.listing import delete_run, list_runs, recorded_runs
from sap_core.runs.meta import update_run
from sap_core.runs.paths import RECORDED
from sap_core.specs.demo import demo_specs


def test_they_are_whole_and_what_the_demo_makes():
    assert {run.id for run in recorded_runs()} == set(RECORDED) == {spec.model for spec in demo_specs()}
    for spec in demo_specs():
        run = sap.open_run(spec.model)
        run.verify()
        assert run.id == spec.model and run.spec == spec.model_dump(mode="json") | {"precision": "float16"}
        assert run.trajectory.sizes["layer"] == sap.inspect_model(spec.model).layers


def test_they_are_in_no_list_of_the_users_own_runs(tmp_path):
    assert list_runs(tmp_path) == []


@pytest.mark.parametrize("name", RECORDED)
def test_they_are_neither_changed_nor_deleted(name):
    with pytest.raises(RunProblem, match="comes with the package"):
        update_run(name, tags=["mine"])
    with pytest.raises(RunProblem, match="comes with the package"):
        delete_run(name)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(UnknownOption, match="demo:stories-diffusion, demo:stories-ar"):
        sap.open_run("demo:storys")
