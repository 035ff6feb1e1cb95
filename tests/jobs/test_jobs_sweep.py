"""A sweep as a job: its folder is the run, its cells are done, what failed is said."""

from __future__ import annotations

import pytest

from sap_core.errors import OperationFailed
from sap_core.jobs.cache import ModelCache
from sap_core.jobs.execute import execute
from sap_core.runs.reading import open_run
from sap_core.specs import SweepSpec
from sap_core.sweeps import executors
from sap_core.sweeps.local import LocalExecutor


class Inside(LocalExecutor):
    """Answers every task at once; "wrong" ones fail."""

    wrong = ()

    def run(self, tasks, runner, options):
        from sap_core.sweeps.tasks import Event

        for task in tasks:
            yield Event("begun", task)
            if task.id in self.wrong:
                yield Event("failed", task, error="out of luck")
                continue
            quality = {"nats": [8.0, 9.0], "counted": [4, 4], "kind": "bound", "parameters": 10}
            yield Event("finished", task, {"id": task.id, "pruning": {}, "quality": quality, "seconds": 0.1})


def test_a_sweep_is_a_run(tmp_path, tiny_diffusion, monkeypatch):
    monkeypatch.setattr(executors, "LocalExecutor", Inside)
    spec = SweepSpec.build(model=str(tiny_diffusion), methods=("magnitude",), device="cpu")
    monkeypatch.setattr(Inside, "wrong", ("dense",))
    with pytest.raises(OperationFailed, match=r"1 cells of the sweep failed.*dense: out of luck"):
        execute(spec, tmp_path / "run", ModelCache(), lambda _: None)
    monkeypatch.setattr(Inside, "wrong", ())
    path = execute(spec, tmp_path / "run", ModelCache(), lambda _: None)
    run = open_run(path)
    assert (run.kind, run.state, run.result["cells"]) == ("sweep", "finished", 2)
