"""The worker's parts in this process: what it writes, when, and that a full disk does not take it down."""

from __future__ import annotations

import errno
import json
import os
import time

import pytest

from sap_core.errors import Cancelled
from sap_core.jobs import layout
from sap_core.jobs.client import JobClient
from sap_core.jobs.layout import JobFolder
from sap_core.jobs.worker import KEPT_JOBS, Worker, thread_count
from sap_core.progress import Progress
from sap_core.runs import files
from sap_core.specs import CaptureSpec, parse_spec

SPEC = CaptureSpec.build(model="m", prompts=("x",), steps=2)


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """A client whose worker is never started as a process: the test is the worker."""
    found = JobClient(tmp_path)
    monkeypatch.setattr(found, "ensure_worker", lambda *_: None)
    monkeypatch.setattr(found._files, "worker_alive", lambda: True)
    return found


@pytest.fixture
def worker(jobs):
    return Worker(JobFolder(jobs.root))


def test_the_spec_arrives_as_it_was_sent(jobs, worker):
    seen = []
    job = jobs.submit(SPEC, run_dir=jobs.root / "mine")
    assert worker.run_next(lambda spec, out, progress: seen.append((spec, out)))
    assert seen == [(SPEC, jobs.root / "mine")] and parse_spec(jobs.status(job).spec) == SPEC
    assert jobs.status(job).state == "finished" and not worker.run_next(None)


def test_progress_is_written_at_once_on_a_new_stage_and_at_the_end(jobs, worker):
    job = jobs.submit(SPEC)
    seen = []

    def work(spec, out, progress):
        for stage, done, total in [("load", 0, 1), ("steps", 1, 9), ("steps", 2, 9), ("steps", 9, 9)]:
            progress(Progress(stage, done, total))
            found = jobs.status(job)
            seen.append((found.progress.stage, found.progress.done, found.remaining is None))

    worker.run_next(work)
    assert seen == [("load", 0, True), ("steps", 1, True), ("steps", 1, True), ("steps", 9, False)]


def test_remaining_time_follows_the_pace(jobs, worker, monkeypatch):
    job = jobs.submit(SPEC)
    folder = jobs.root / ".jobs" / job
    document = {"stage": "s", "done": 3, "total": 10, "message": "", "data": {}, "stage_from": 1, "stage_seconds": 4.0}
    files.write_json(folder / "progress.json", document | {"written": 1000.0})
    monkeypatch.setattr(layout.time, "time", lambda: 1001.0)
    assert layout.read_progress(folder)[1] == pytest.approx(13.0)  # 7 steps of 2 s, one second gone


def test_the_cancel_flag_stops_at_the_next_report(jobs, worker):
    job = jobs.submit(SPEC)
    steps = []

    def work(spec, out, progress):
        for step in range(10):
            steps.append(step)
            if step == 3:
                jobs.cancel(job)
            progress(Progress("steps", step, 10))

    worker.run_next(work)
    assert steps == [0, 1, 2, 3] and jobs.status(job).state == "cancelled"


def test_stopping_cancels_the_running_job(jobs, worker):
    job = jobs.submit(SPEC)

    def work(spec, out, progress):
        worker.stop("The worker was asked to stop.")
        with pytest.raises(Cancelled):
            progress(Progress("steps", 1, 2))
        progress(Progress("steps", 2, 2))

    worker.run_next(work)
    assert (jobs.status(job).state, jobs.status(job).error) == ("cancelled", "The worker was asked to stop.")


def test_a_full_disk_fails_the_job_and_still_says_so(jobs, worker, monkeypatch):
    job = jobs.submit(SPEC)

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def work(spec, out, progress):
        monkeypatch.setattr(files.os, "replace", full)
        progress(Progress("steps", 1, 2))  # its loss is no reason to stop
        files.write_json(jobs.root / "result.json", {})

    worker.run_next(work)
    monkeypatch.undo()
    status = JobClient(jobs.root)._status(job, JobFolder(jobs.root).state(job))
    assert status.state == "failed" and "No space left on the disk" in status.error
    assert not [path for path in jobs.root.rglob(".*.json.*")]


def test_recovery_fails_what_ran_keeps_what_waits_and_tidies(jobs, worker):
    ran, waits, lost = (jobs.submit(SPEC) for _ in range(3))
    worker.files.claim(ran)
    worker.files.set_state(ran, "running", started=time.time())
    worker.files.claim(lost)  # its worker died between taking it and saying so
    for number in range(KEPT_JOBS):
        folder = worker.files.job(f"{number:020d}-old")
        folder.mkdir()
        files.write_json(folder / "job.json", {})
        files.write_json(folder / "state.json", {"state": "finished"})
    worker.recover()
    assert [jobs.status(job).state for job in (ran, waits, lost)] == ["failed", "queued", "failed"]
    assert len(worker.files.ids()) == KEPT_JOBS and not worker.files.job("00000000000000000000-old").exists()


def test_threads_follow_the_environment_and_leave_a_core(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert thread_count() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    for usable, expected in [(1, 1), (2, 2), (4, 3), (16, 15)]:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=usable: set(range(n)), raising=False)
        assert thread_count() == expected


WRONG = [b"", b"null", b"[]", b"7", b"{", b"\xff", b'{"a": 1}', b"[" * 100_000, b'{"state": 7}', b'{"pid": "x"}']


@pytest.mark.slow
@pytest.mark.parametrize("name", ["job.json", "state.json", "progress.json", "cancel"])
def test_a_crafted_document_fails_its_job_alone(jobs, worker, name):
    for number, content in enumerate(WRONG):
        bad, good = jobs.submit(SPEC), jobs.submit(SPEC)
        path = jobs._files.job(bad) / name
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        worker.recover()
        assert jobs.jobs(limit=100)
        while worker.run_next(lambda spec, out, progress: progress(Progress("steps", 1, 9))):
            pass
        assert jobs.status(good).state == "finished", (number, content)
        assert good in {job.id for job in jobs.jobs(limit=100)}
        jobs.cancel(bad)


@pytest.mark.parametrize(
    "change",
    [{"spec": []}, {"spec": {"kind": []}}, {"spec": {"kind": "capture", "prompts": 7}}, {"spec": {"kind": "x" * 999}},
     {"run": 7}, {"run": "a\0b"}, {"run": None}, {"submitted": "now"}, {"submitted": 1e400}, {"id": {}},
     {"spec": {"kind": "capture", "model": "m", "seed": 10**4000}}],
)  # fmt: skip
def test_any_type_in_a_job_file(jobs, worker, change):
    bad, good = jobs.submit(SPEC), jobs.submit(SPEC)
    path = jobs._files.job(bad) / "job.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    while worker.run_next(lambda spec, out, progress: None):
        pass
    assert jobs.status(good).state == "finished"
    assert jobs.jobs()[0].id == good


def test_a_client_is_known_by_its_lock_not_by_a_clock(tmp_path, monkeypatch):
    files = JobFolder(tmp_path)
    files.make()
    files.register_client()
    for damage in ("x.lock", "y.json"):
        (files.clients / damage).write_bytes(b"\xff")
    (tmp_path / ".jobs" / "clients" / "folder.lock").mkdir()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 1e9)
    assert files.clients_alive()
    other = files.clients / "77.lock"
    other.touch()
    assert files.clients_alive() and not other.exists()
