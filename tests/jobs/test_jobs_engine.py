"""The real worker process with the real engine: a capture seen from outside while it runs, then a warm prune."""

from __future__ import annotations

import time

import pytest

from sap_core.jobs.client import JobClient
from sap_core.runs.reading import open_run
from sap_core.specs import CaptureSpec, PruneSpec

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    found = JobClient(tmp_path_factory.mktemp("runs"))
    found.ensure_worker()
    yield found
    found.stop()


def test_capture_is_seen_while_it_runs(jobs, tiny_diffusion):
    spec = CaptureSpec.build(model=str(tiny_diffusion), prompts=("w1 w2",), length=60, steps=58, seed=1)
    job = jobs.submit(spec)
    seen = []
    while (status := jobs.status(job)).open:
        if status.progress is not None and status.progress.data.get("text"):
            run = open_run(status.run_path, unfinished=True)
            seen.append((status.progress.done, run.state, run.trajectory.sizes["step"]))
        time.sleep(0.02)
    assert status.state == "finished", status.error
    assert open_run(status.run_path).trajectory.sizes["step"] == 58
    assert seen and all(state in ("running", "finished") for _, state, _ in seen)
    assert [steps for *_, steps in seen] == sorted(steps for *_, steps in seen)


def test_a_cancelled_capture_keeps_its_steps(jobs, tiny_diffusion):
    job = jobs.submit(CaptureSpec.build(model=str(tiny_diffusion), prompts=("w1",), length=64, steps=63))
    while (status := jobs.status(job)).open and not (status.progress and status.progress.done > 2):
        time.sleep(0.005)
    jobs.cancel(job)
    status = jobs.wait(job, 60)
    if status.state == "finished":
        pytest.skip("the capture was over before the cancel reached it")
    run = open_run(status.run_path)
    assert (status.state, run.state) == ("cancelled", "cancelled") and 0 < run.trajectory.sizes["step"] < 63


def test_prune_of_the_warm_model_and_a_refused_one(jobs, tiny_diffusion, tmp_path):
    good = jobs.submit(PruneSpec.build(model=str(tiny_diffusion), method="magnitude", sparsity=0.5))
    bad = jobs.submit(PruneSpec.build(model=str(tmp_path / "none"), method="magnitude"))
    status = jobs.wait(good, 120)
    assert status.state == "finished", status.error
    assert open_run(status.run_path).result["pruned"]["text"]
    status = jobs.wait(bad, 60)
    assert status.state == "failed" and "There is no folder" in status.error and status.run_path is None
