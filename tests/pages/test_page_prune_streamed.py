"""Prune, where the model does not fit the memory: the toggle, the folder, the job, where it wrote."""

from __future__ import annotations

import pytest
from page_text import words
from test_page_prune import apply

from sap_core.runs.store import create_run
from sap_core.specs import PruneCheckpointSpec


@pytest.fixture
def no_room(monkeypatch):
    monkeypatch.setattr("sap_core.pruning.planning.memory_check.available_memory", lambda device: 1000)


def test_a_model_that_fits_is_not_asked_about_it(page, tiny_diffusion):
    assert not [toggle for toggle in page("prune", model=tiny_diffusion).toggle if toggle.key == "streamed"]


def test_from_file_to_file(page, jobs, tiny_diffusion, root, tmp_path, no_room):
    at = page("prune", model=tiny_diffusion, method="sink")
    assert " are free" in words(at) and apply(at).disabled and at.metric[1].value == "50.0%"
    at.toggle(key="streamed").set_value(True).run()
    at.text_input(key="streamed_out").set_value(str(tmp_path / "small")).run()
    assert "sap prune --streamed" in words(at) and "sap.prune_checkpoint(" in words(at)
    apply(at).click().run()
    (spec,) = jobs.submitted
    assert spec == PruneCheckpointSpec(
        model=str(tiny_diffusion), method="sink", samples=16, out=str(tmp_path / "small")
    )
    with create_run("prune_checkpoint", spec, out=root / "done") as run:
        export = {"folder": str(tmp_path / "small"), "bytes": 2048, "verification": None, "code": "import sap_core"}
        run.finish({"plan": {}, "report": {"sparsity": 0.5}, "export": export})
    at.session_state["job_prune"] = jobs.put(spec, "finished", run_path=root / "done")
    at.run()
    assert not at.exception and "50.0% of the matrices' weights are zero" in words(at)
    assert str(tmp_path / "small") in words(at)
