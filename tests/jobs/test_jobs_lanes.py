"""Two lanes, by real worker processes: nothing interactive waits for a sweep, and the queue can be seen and changed."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from sap_core.errors import InvalidInput, RunProblem
from sap_core.jobs import client, worker
from sap_core.jobs.client import JobClient
from sap_core.jobs.layout import BACKGROUND, INTERACTIVE, JobFolder, lane_of
from sap_core.runs.files import plain, read_json
from sap_core.runs.reading import open_run
from sap_core.specs import CaptureSpec, Spec, SweepSpec
from sap_core.specs.prune_strategies import build_prune_spec

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, str(Path(__file__).with_name("fake_worker.py"))]


def capture(name: str, steps: int = 3) -> CaptureSpec:
    return CaptureSpec.build(model="m", prompts=(name,), steps=steps)


def sweep(cells: int) -> SweepSpec:
    return SweepSpec.build(model="m", methods=("magnitude",), sparsities=(0.5,), seeds=tuple(range(cells)))


@pytest.fixture
def jobs(tmp_path: Path):
    found = JobClient(tmp_path, command=COMMAND)
    yield found
    found.stop()


def until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def search(candidates: int) -> Spec:
    return build_prune_spec(model="m", method="wanda", target_speedup=1.3, samples=candidates)


@pytest.mark.parametrize("background", [sweep, search])
def test_a_capture_does_not_wait_for_the_background_which_begins_no_cell_meanwhile(jobs: JobClient, background) -> None:
    long = jobs.submit(background(200))
    until(lambda: jobs.status(long).progress)
    short = jobs.submit(capture("quick", steps=150))
    assert jobs.status(short).ahead == 0 and jobs.status(short).lane == INTERACTIVE
    done = jobs.wait(short, 60)
    assert done.state == "finished"
    status = jobs.status(long)
    assert status.state == "running" and status.lane == BACKGROUND and status.progress.done < 200
    until(lambda: jobs.status(long).progress.done > status.progress.done)  # it goes on by itself
    jobs.cancel(long)
    assert jobs.wait(long, 60).state == "cancelled"
    cells = [read_json(path) for path in sorted(status.run_path.glob("cell-*.json"))]
    begun = [first for first, _ in cells if done.started + 0.3 < first < done.ended]
    assert len(cells) > 2 and not begun  # the one that was at work may end


def test_the_queue_is_seen_and_changed(jobs: JobClient) -> None:
    first = jobs.submit(capture("first", steps=10_000))
    until(lambda: jobs.status(first).state == "running")
    second, third, fourth = (jobs.submit(capture(name)) for name in ("second", "third", "fourth"))
    assert jobs.status(fourth).before == (first, second, third) and jobs.status(fourth).ahead == 3
    jobs.move(fourth, 0)
    assert [job.id for job in jobs.open_jobs()] == [first, fourth, second, third]
    assert jobs.status(third).before == (first, fourth, second)
    fifth = jobs.submit(capture("fifth"))  # what comes later stands behind
    assert jobs.status(fifth).ahead == 4
    jobs.move(fifth, 1)
    jobs.cancel(second)
    other = JobClient(jobs.root, command=COMMAND)  # as on another page, or in another process
    assert [job.id for job in other.open_jobs()] == [first, fourth, fifth, third]
    jobs.cancel(first)
    ended = [jobs.wait(job, 60) for job in (fourth, fifth, third)]
    assert [job.state for job in ended] == ["finished"] * 3
    assert ended[0].started < ended[1].started < ended[2].started
    assert jobs.status(second).state == "cancelled" and jobs.status(second).started is None
    with pytest.raises(InvalidInput, match="does not wait any more"):
        jobs.move(third)
    with pytest.raises(RunProblem, match="not known"):
        jobs.move("nonsense")
    assert jobs.open_jobs() == []


def test_moving_a_job_that_was_just_taken_does_not_bring_it_back(tmp_path: Path) -> None:
    files = JobFolder(tmp_path)
    files.make()
    for name in ("a", "b"):
        (files.queue / name).touch()
    order = files.waiting

    def taken_meanwhile() -> list[str]:
        found = order()
        files.claim("a")
        return found

    files.waiting = taken_meanwhile  # type: ignore[method-assign]
    files.move("b", 0)
    assert os.listdir(files.queue) == ["b"]


def test_each_lane_has_its_worker_and_loses_only_its_own_jobs(jobs: JobClient) -> None:
    long, short = jobs.submit(sweep(500)), jobs.submit(capture("story", steps=10_000))
    until(lambda: jobs.status(long).progress and jobs.status(short).progress)
    process = client._started[jobs.root, BACKGROUND]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert jobs.status(long).state == "failed" and "SIGKILL" in jobs.status(long).error
    assert jobs.status(short).state == "running"
    again = jobs.submit(sweep(2))
    jobs.cancel(short)
    assert jobs.wait(again, 60).state == "finished" and jobs.wait(short, 60).state == "cancelled"


def test_only_prunings_that_measure_many_times_run_in_the_background() -> None:
    direct, progressive = (build_prune_spec(model="m", method="wanda", budget=budget) for budget in (None, 0.1))
    lanes = [lane_of(plain(spec)) for spec in (direct, progressive, search(1), capture("x"), sweep(1))]
    assert lanes == [INTERACTIVE, BACKGROUND, BACKGROUND, INTERACTIVE, BACKGROUND]


def test_a_job_that_does_not_report_is_ended_by_force_and_the_queue_goes_on(jobs: JobClient, monkeypatch) -> None:
    monkeypatch.setenv("FAKE_GRACE", "0.5")
    deaf = jobs.submit(capture("deaf"))
    until(lambda: jobs.status(deaf).progress)
    monkeypatch.setenv("FAKE_GRACE", "600")
    waiting = jobs.submit(capture("the one after"))
    process = client._started[jobs.root, INTERACTIVE]
    process.terminate()
    assert process.wait(60) == 1
    status = jobs.status(deaf)
    assert status.state == "cancelled" and "took too long to end" in status.error
    assert open_run(status.run_path, unfinished=True).manifest is None  # what it had written is kept, as unfinished
    assert jobs.wait(waiting, 60).state == "finished"


def test_sigterm_ends_a_worker_as_a_cancel_does(jobs: JobClient) -> None:
    long = jobs.submit(sweep(500))
    until(lambda: jobs.status(long).progress)
    process = client._started[jobs.root, BACKGROUND]
    process.terminate()
    assert process.wait(30) == 0
    status = jobs.status(long)
    assert status.state == "cancelled" and open_run(status.run_path).state == "cancelled"


def test_a_worker_in_the_background_ends_when_idle_but_never_past_a_job(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(worker, "IDLE", 0.0)
    monkeypatch.setattr(worker.Worker, "watch", lambda self: None)  # it ends its process, which is this one
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)
    files = JobFolder(tmp_path, BACKGROUND)
    files.make()
    files.register_client()
    ran = []

    def execute(spec, out, progress):
        ran.append(spec.kind)
        return out

    jobs = JobClient(tmp_path)
    monkeypatch.setattr(jobs, "ensure_worker", lambda lane: None)
    jobs.submit(sweep(1))
    came = []

    def waiting_once(self) -> list[str]:  # a second job comes between the last look and the lock's release
        found = real(self)
        if ran == ["sweep"] and not came and not found:
            came.append(jobs.submit(sweep(2)))
        return found

    real = JobFolder.waiting
    monkeypatch.setattr(JobFolder, "waiting", waiting_once)
    assert worker.serve(tmp_path, lambda: execute, BACKGROUND) == 0
    assert ran == ["sweep", "sweep"] and not files.worker_alive()


def test_an_idle_worker_lets_go_of_its_models_when_asked(tmp_path: Path, monkeypatch) -> None:
    files = JobFolder(tmp_path)
    files.make()
    files.register_client()
    files.release.touch()
    let_go = []

    class Engine:
        def __call__(self, spec, out, progress):
            raise AssertionError

        def release(self):
            let_go.append(True)

    monkeypatch.setattr(worker.Worker, "watch", lambda self: None)  # it ends its process, which is this one
    made: list[worker.Worker] = []
    init = worker.Worker.__init__
    monkeypatch.setattr(worker.Worker, "__init__", lambda self, given: (init(self, given), made.append(self))[0])
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)
    monkeypatch.setattr(worker.time, "sleep", lambda _: made[0].stop("done") if let_go else None)
    assert worker.serve(tmp_path, Engine) == 0
    assert let_go == [True] and not files.release.exists()
