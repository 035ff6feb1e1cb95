"""Jobs through a real worker process that only pretends to work: order, progress, cancel, death, two clients."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from sap_core.errors import InvalidInput, RunProblem
from sap_core.jobs import client
from sap_core.jobs.client import JobClient
from sap_core.jobs.layout import INTERACTIVE
from sap_core.runs.files import read_json
from sap_core.runs.listing import list_runs
from sap_core.runs.reading import open_run
from sap_core.specs import CaptureSpec

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, str(Path(__file__).with_name("fake_worker.py"))]
LONG = 10_000  # steps; nobody waits for their end


def task(name="story", steps=3):
    return CaptureSpec.build(model="m", prompts=(name,), steps=steps)


@pytest.fixture
def jobs(tmp_path):
    found = JobClient(tmp_path, command=COMMAND)
    yield found
    found.stop()


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def running(jobs, job):
    until(lambda: jobs.status(job).state == "running" and jobs.status(job).progress)
    return jobs.status(job)


def workers_of(root):
    return [p for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or [])[-1:] == [str(root)]]


def worker_pid(jobs):
    return read_json(jobs.root / ".jobs" / "worker.json")["pid"]


def test_a_job_runs_reports_and_leaves_a_run(jobs):
    job = jobs.submit(task("story"))
    assert jobs.status(job).state == "queued" and jobs.status(job).run_path is None
    status = jobs.wait(job, 30)
    assert (status.state, status.error, status.kind) == ("finished", "", "capture")
    assert (status.progress.done, status.progress.total, status.progress.data) == (3, 3, {"text": "word 2"})
    assert open_run(status.run_path).text == "story"
    assert status.submitted <= status.started <= status.ended and status.seconds > 0
    assert [run.path for run in list_runs(jobs.root)] == [status.run_path]
    assert jobs.worker_state() == "ready"


def test_jobs_run_in_order_one_at_a_time(jobs):
    ids = [jobs.submit(task(f"s{i}", steps=2)) for i in range(4)]
    assert [jobs.status(job).ahead for job in ids][-1] <= 3
    times = [jobs.wait(job, 30) for job in ids]
    assert all(a.ended <= b.started for a, b in itertools.pairwise(times))
    assert [status.id for status in jobs.jobs()] == ids[::-1]


def test_cancel_while_running_keeps_what_is_there(jobs):
    job = jobs.submit(task(steps=LONG))
    status = running(jobs, job)
    assert status.remaining is None or 0 < status.remaining < 10_000
    jobs.cancel(job)
    status = jobs.wait(job, 30)
    assert status.state == "cancelled" and status.progress.done < LONG
    assert open_run(status.run_path).state == "cancelled"


def test_cancel_while_queued_never_runs(jobs):
    first, second = jobs.submit(task(steps=LONG)), jobs.submit(task())
    running(jobs, first)
    assert jobs.status(second).ahead == 1
    jobs.cancel(second)
    assert jobs.status(second).state == "cancelled" and jobs.status(second).run_path is None
    jobs.cancel(first)
    jobs.wait(first, 30)
    assert jobs.status(second).started is None


@pytest.mark.parametrize(
    ("name", "error", "kept", "log"),
    [
        ("refuse", "steps is 900; expected at most 64.", False, False),
        ("raise", "ValueError: matrix is singular", True, True),
        ("memory", "Out of memory; try a smaller model", True, True),
    ],
)
def test_a_failing_job_fails_alone(jobs, name, error, kept, log):
    bad, good = jobs.submit(task(name)), jobs.submit(task())
    status = jobs.wait(bad, 30)
    assert status.state == "failed" and status.error.startswith(error) and "\n" not in status.error
    assert (status.run_path is not None) == kept
    if kept:
        assert open_run(status.run_path).state == "failed"
    trace = jobs.root / ".jobs" / bad / "log.txt"
    assert trace.exists() == log and (not log or "Traceback" in trace.read_text())
    assert jobs.wait(good, 30).state == "finished"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("kill", "killed (SIGKILL), most often because the machine ran out of memory"),
        ("exit", "exit code 7: the engine"),
    ],
)
def test_a_dead_worker_is_reported_and_the_queue_goes_on(jobs, name, reason):
    keep = jobs.wait(jobs.submit(task("before")), 30)
    bad, good = jobs.submit(task(name)), jobs.submit(task("after"))
    status = jobs.wait(bad, 30)
    assert status.state == "failed" and reason in status.error
    assert open_run(status.run_path, unfinished=True).state == "unfinished"
    assert jobs.wait(good, 30).state == "finished"
    open_run(keep.run_path).verify()


def test_a_worker_started_before_anybody_asked_does_not_hide_how_the_last_one_ended(jobs):
    job = jobs.submit(task(steps=LONG))
    running(jobs, job)
    os.kill(worker_pid(jobs), signal.SIGKILL)
    client._started[jobs.root, INTERACTIVE].wait()
    after = jobs.submit(task("after"))  # starts the next worker, which tidies up
    assert jobs.wait(after, 30).state == "finished"
    assert "killed (SIGKILL)" in jobs.status(job).error


def test_a_new_client_finds_what_a_dead_worker_left(jobs, monkeypatch):
    job = jobs.submit(task(steps=LONG))
    running(jobs, job)
    os.kill(worker_pid(jobs), signal.SIGKILL)
    client._started[jobs.root, INTERACTIVE].wait()
    monkeypatch.setattr(client, "_started", {})  # as in another process, which can't know the exit code
    other = JobClient(jobs.root, command=COMMAND)
    assert "ended unexpectedly" in other.status(job).error
    assert other.wait(other.submit(task()), 30).state == "finished"
    other.stop()


def test_a_worker_that_can_not_start_fails_its_jobs(jobs, monkeypatch):
    monkeypatch.setenv("FAKE_BROKEN", "1")
    status = jobs.wait(jobs.submit(task()), 30)
    assert status.state == "failed"
    assert "could not start" in status.error and "ImportError: no engine here" in status.error
    monkeypatch.delenv("FAKE_BROKEN")
    assert jobs.wait(jobs.submit(task()), 30).state == "finished"


def test_sigterm_ends_the_worker_after_the_step_and_the_queue_waits(jobs):
    first, second = jobs.submit(task(steps=LONG)), jobs.submit(task())
    running(jobs, first)
    process = client._started[jobs.root, INTERACTIVE]
    process.terminate()
    assert process.wait(30) == 0
    assert read_json(jobs.root / ".jobs" / first / "state.json")["state"] == "cancelled"
    assert jobs.status(first).error == "The worker was asked to stop."
    assert jobs.wait(second, 30).state == "finished"  # a look at a waiting job brings a new worker


def test_two_clients_in_two_processes_share_one_worker(jobs):
    script = textwrap.dedent(
        f"""
        from sap_core.jobs.client import JobClient
        from sap_core.specs import CaptureSpec
        jobs = JobClient({str(jobs.root)!r}, command={COMMAND!r})
        job = jobs.submit(CaptureSpec.build(model="m", prompts=("theirs",), steps=3))
        print(jobs.wait(job, 30).state)
        """
    )
    mine = jobs.submit(task("mine", steps=20))
    other = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=client._environment()
    )
    assert jobs.wait(mine, 30).state == "finished"
    assert other.communicate(timeout=30)[0].strip() == "finished"
    assert {open_run(run.path).text for run in list_runs(jobs.root)} == {"mine", "theirs"}
    until(lambda: len(workers_of(jobs.root)) == 1)  # a second one, if both started one, gives way
    assert jobs.worker_state() == "ready"


def test_a_job_outlives_the_client_that_sent_it(jobs):
    job = JobClient(jobs.root, command=COMMAND).submit(task(steps=30))  # as by a tab that is closed at once
    assert [status.id for status in jobs.jobs() if status.open] == [job]
    assert jobs.wait(job, 30).state == "finished" and open_run(jobs.status(job).run_path).text == "story"


def test_the_worker_goes_when_its_last_client_is_gone(tmp_path):
    script = textwrap.dedent(
        f"""
        from sap_core.jobs.client import JobClient
        from sap_core.specs import CaptureSpec
        import time
        jobs = JobClient({str(tmp_path)!r}, command={COMMAND!r})
        job = jobs.submit(CaptureSpec.build(model="m", prompts=("long",), steps={LONG}))
        while not jobs.status(job).progress:
            time.sleep(0.02)
        print(job)
        """
    )
    command = [sys.executable, "-c", script]
    job = subprocess.check_output(command, text=True, timeout=60, env=client._environment()).strip()
    folder = tmp_path / ".jobs" / job
    until(lambda: read_json(folder / "state.json")["state"] != "running")
    assert read_json(folder / "state.json")["error"] == "The studio was closed."
    until(lambda: JobClient(tmp_path).worker_state() == "off")
    assert [run.state for run in list_runs(tmp_path)] == ["cancelled"]


def test_bad_submissions_leave_nothing(jobs):
    (jobs.root / "there").mkdir()
    with pytest.raises(InvalidInput, match="exists already"):
        jobs.submit(task(), run_dir=jobs.root / "there")
    with pytest.raises(RunProblem, match="not known"):
        jobs.status("nonsense")
    with pytest.raises(RunProblem, match="not known"):
        jobs.cancel("nonsense")
    assert jobs.jobs() == [] and jobs.worker_state() == "off"
