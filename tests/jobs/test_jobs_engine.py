"""The real worker process with the real engine: a capture seen from outside while it runs, then a warm prune."""

from __future__ import annotations

import time

import pytest

from sap_core.jobs.client import JobClient
from sap_core.runs.reading import open_run
from sap_core.specs import CaptureSpec, PruneSpec

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def jobs(tmp_path_factory, warm_python):
    found = JobClient(tmp_path_factory.mktemp("runs"))
    found.ensure_worker()
    yield found
    found.stop()


def test_a_capture_is_seen_while_it_runs_and_a_cancel_keeps_its_steps(jobs):
    spec = CaptureSpec.build(model="demo:stories-diffusion", prompts=("once there was",) * 4, length=256, steps=240)
    job = jobs.submit(spec)  # longer than anybody looks on: it can't end before it was seen
    seen = []
    while (status := jobs.status(job)).open and len({steps for _, steps in seen}) < 3:
        if status.progress is not None and status.progress.data.get("text"):
            run = open_run(status.run_path, unfinished=True)
            seen.append((run.state, run.trajectory.sizes["step"]))
        time.sleep(0.02)
    jobs.cancel(job)
    status = jobs.wait(job, 120)
    assert {state for state, _ in seen} == {"running"}, status.error
    assert [steps for _, steps in seen] == sorted(steps for _, steps in seen)
    run = open_run(status.run_path)
    assert (status.state, run.state) == ("cancelled", "cancelled")
    assert seen[-1][1] <= run.trajectory.sizes["step"] < 240


def test_prune_of_the_warm_model_and_a_refused_one(jobs, tiny_diffusion, tmp_path):
    good = jobs.submit(PruneSpec.build(model=str(tiny_diffusion), method="magnitude", sparsity=0.5))
    bad = jobs.submit(PruneSpec.build(model=str(tmp_path / "none"), method="magnitude"))
    status = jobs.wait(good, 120)
    assert status.state == "finished", status.error
    assert open_run(status.run_path).result["pruned"]["text"]
    status = jobs.wait(bad, 60)
    assert status.state == "failed" and "There is no folder" in status.error and status.run_path is None
