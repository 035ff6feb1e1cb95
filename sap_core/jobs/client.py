"""Submit, watch and cancel jobs, from a page, a script or a test. No torch here."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidInput, RunProblem
from ..runs.files import plain, write_json
from ..runs.paths import check_new_run, new_run_path, runs_root
from ..specs import Spec
from ..storage import disk_problem, local_folder, remote_errors, storage_path
from .documents import JobDocument, ProcessDocument, read_job_document
from .layout import GOES_ON_IN_PLACE, GONE, INTERACTIVE, LANES, OPEN, JobFolder, JobStatus, lane_of, read_progress

if TYPE_CHECKING:
    from ..storage.paths import StoragePath

# Workers started by this process, by root and lane: only their parent can learn how they ended. Shared by all sessions
# of a web server, so guarded by a lock.
_started: dict[tuple[StoragePath, str], subprocess.Popen] = {}
_guard = threading.RLock()


class JobClient:
    """The jobs under one root.

    There are two lanes, each with a queue and a worker: sweeps, searches and what else takes long without anybody
    waiting for it run in the background, all other jobs at once. Between two cells a sweep lets interactive jobs end
    first, and so do the prunings that measure many times between two measurements. A client is cheap to make; any
    number may be used at once, in one process or in several.

    Args:
        root: Folder of the runs.
        command: Command that starts a worker; the root is appended, and the lane if it is the background.
    """

    def __init__(self, root: str | os.PathLike | None = None, *, command: Sequence[str] | None = None) -> None:
        self.root = runs_root(root)
        self._command = list(command or (sys.executable, "-m", "sap_core.jobs.worker"))
        self._lanes = {lane: JobFolder(self.root, lane) for lane in LANES}
        self._files = self._lanes[INTERACTIVE]

    def submit(self, spec: Spec, *, run_dir: str | os.PathLike | None = None, resume: bool = False) -> str:
        """Queue a job, see that a worker of its lane lives, and return the job's id at once.

        Args:
            spec: what to do.
            run_dir: the run to make; default: a new one under the root.
            resume: ``run_dir`` is a capture of ``spec`` that was not finished, to go on with.

        Raises:
            InvalidInput: ``run_dir`` exists (unless the job is of a kind that goes on there) or can't be written.
            OperationFailed: the disk is full.
        """
        files = self._lanes[lane_of(plain(spec))]
        run = storage_path(run_dir) if run_dir is not None else new_run_path(spec.kind, self.root)
        if spec.kind in GOES_ON_IN_PLACE:
            run = local_folder(run, f"A job of kind {spec.kind}, which is resumed where it lies,")
        elif resume:
            if spec.kind != "capture" or not run.is_dir():
                raise InvalidInput(f"{run} is no capture to go on with; give the folder of one.")
        else:
            run = check_new_run(run)
        job_id = f"{time.time_ns():020d}-{secrets.token_hex(3)}"
        folder = files.job(job_id)
        try:
            files.make()
            folder.mkdir()
            job = {"id": job_id, "spec": spec, "run": run, "submitted": time.time()}
            write_json(folder / "job.json", job)
            write_json(folder / "state.json", {"state": "queued"})
            (files.queue / job_id).touch()
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise disk_problem(error, folder) from error
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self.ensure_worker(files.lane)
        return job_id

    def status(self, job_id: str) -> JobStatus:
        """Return the current state of a job, from three small files however many jobs there are.

        A job whose worker died is reported as failed with the reason, and the rest of the queue gets a new worker.

        Raises:
            InvalidInput: no such job.
        """
        if not self._files.job(job_id).is_dir():
            raise self._unknown(job_id)
        state = self._files.state(job_id)
        if state["state"] in OPEN:
            files = self._lanes[self._files.lane_of(job_id)]
            if not files.worker_alive():
                self._after_death(files, job_id)
                state = files.state(job_id)
        return self._status(job_id, state)

    def cancel(self, job_id: str) -> None:
        """Ask a job to stop: at once if it waits, else within its next step. Its partial result is kept."""
        folder = self._files.job(job_id)
        if not folder.is_dir():
            raise self._unknown(job_id)
        (folder / "cancel").touch()
        if any(files.claim(job_id) for files in self._lanes.values()):
            self._files.set_state(job_id, "cancelled", ended=time.time(), error="Cancelled before it began.")

    def move(self, job_id: str, to: int = 0) -> None:
        """Put a waiting job at another place of its lane's queue; 0 makes it the next to run.

        Raises:
            InvalidInput: no such job, or it waits no more.
        """
        if not self._files.job(job_id).is_dir():
            raise self._unknown(job_id)
        if not self._lanes[self._files.lane_of(job_id)].move(job_id, to):
            raise InvalidInput(f"Job {job_id} does not wait any more; it can only be cancelled.")

    def open_jobs(self) -> list[JobStatus]:
        """Return the jobs that run or wait, lane by lane in the order in which they run."""
        found = []
        for files in self._lanes.values():
            running = files.running()
            for job_id in [*([running] if running else []), *files.waiting()]:
                with contextlib.suppress(InvalidInput):  # tidied away meanwhile
                    status = self.status(job_id)
                    found += [status] if status.open else []
        return found

    def jobs(self, limit: int = 50) -> list[JobStatus]:
        """Return the newest jobs first."""
        found = []
        for job_id in self._files.ids()[:limit]:
            try:
                found.append(self.status(job_id))
            except InvalidInput:
                continue  # tidied away meanwhile
        return found

    def wait(self, job_id: str, timeout: float | None = None) -> JobStatus:
        """Block until the job has ended, or ``timeout`` seconds have passed, and return its status."""
        end = time.monotonic() + (timeout if timeout is not None else float("inf"))
        while (status := self.status(job_id)).open and time.monotonic() < end:
            time.sleep(0.05)
        return status

    def ensure_worker(self, lane: str = INTERACTIVE) -> None:
        """Start the worker of a lane unless one runs, without waiting for it. Calling it early warms it up."""
        files = self._lanes[lane]
        with _guard:
            files.make()
            files.register_client()
            mine = _started.get((self.root, lane))
            if files.worker_alive() or (mine is not None and mine.poll() is None):
                return
            if mine is not None:
                self._tell_how_it_ended(files, mine)  # the new worker could not know
            if files.log.exists() and files.log.stat().st_size > 1_000_000:
                files.log.unlink()
            with open(files.log, "ab") as log:
                _started[self.root, lane] = subprocess.Popen(
                    [*self._command, str(self.root), *([] if lane == INTERACTIVE else [lane])],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=_environment(),
                    start_new_session=True,  # Ctrl-C in the studio's terminal does not reach it
                )

    def worker_state(self, lane: str = INTERACTIVE) -> str:
        """Return off, starting (the engine is being imported: some seconds), or ready."""
        files = self._lanes[lane]
        if not files.worker_alive():
            return "off"
        return "ready" if files.worker.exists() else "starting"

    def stop(self, patience: float = 10.0) -> None:
        """End the workers, whoever started them: asked first (a running job keeps its partial result), then killed."""
        for files in self._lanes.values():
            self._stop(files, patience)

    def _stop(self, files: JobFolder, patience: float) -> None:
        pid = (read_job_document(files.worker, ProcessDocument) or {}).get("pid")
        with _guard:
            mine = _started.pop((self.root, files.lane), None)
            pid = mine.pid if mine is not None else pid if files.worker_alive() else None
            if pid is None:
                return
            _signal(pid, signal.SIGTERM)
            end = time.monotonic() + patience
            while time.monotonic() < end and (mine.poll() is None if mine else files.worker_alive()):
                time.sleep(0.02)
            if mine.poll() is None if mine else files.worker_alive():
                _signal(pid, signal.SIGKILL)
            if mine:
                mine.wait()

    def _status(self, job_id: str, state: dict) -> JobStatus:
        folder = self._files.job(job_id)
        job = read_job_document(folder / "job.json", JobDocument)
        if job is None:
            raise self._unknown(job_id)
        run = storage_path(state.get("run") or job["run"])
        with remote_errors(run):
            begun = run.is_dir()
        progress, remaining = read_progress(folder)
        lane = lane_of(job["spec"])
        before = self._lanes[lane].before(job_id) if state["state"] == "queued" else ()
        return JobStatus(
            id=job_id,
            kind=job["spec"]["kind"],
            state=state["state"],
            spec=job["spec"],
            progress=progress,
            run_path=run if begun else None,
            error=state.get("error", ""),
            submitted=job["submitted"],
            started=state.get("started"),
            ended=state.get("ended"),
            ahead=len(before),
            lane=lane,
            before=before,
            remaining=remaining if state["state"] == "running" else None,
        )

    def _after_death(self, files: JobFolder, job_id: str) -> None:
        """No worker holds the lock: say why of the job it had, and start another for the jobs that wait."""
        with _guard:
            mine = _started.get((self.root, files.lane))
            if mine is not None and mine.poll() is None:
                return  # just starting, or just ending
            self._tell_how_it_ended(files, mine)
            waiting = files.waiting()
            if job_id in waiting and mine is not None and not self._was_ready(files, mine.pid):
                for other in waiting:
                    if files.claim(other):
                        reason = f"The worker could not start. {how_it_ended(mine, files.log)}"
                        files.set_state(other, "failed", ended=time.time(), error=reason)
                _started.pop((self.root, files.lane))
                return
            if files.waiting():
                self.ensure_worker(files.lane)

    def _tell_how_it_ended(self, files: JobFolder, process: subprocess.Popen | None) -> None:
        """Give the reason to the jobs that a dead worker was at; None: it was another process' worker."""
        for job_id in files.taken():
            files.set_state(job_id, "failed", ended=time.time(), error=how_it_ended(process, files.log))

    def _was_ready(self, files: JobFolder, pid: int) -> bool:
        """Return whether the worker with this id got as far as serving."""
        return (read_job_document(files.worker, ProcessDocument) or {}).get("pid") == pid

    def _unknown(self, job_id: str) -> RunProblem:
        return RunProblem(f"Job {job_id} is not known under {self.root}; it may have been tidied away.")


def how_it_ended(process: subprocess.Popen | None, log: Path) -> str:
    """Return one line on why a worker ended, for the job it was running."""
    code = process.returncode if process is not None else None
    if code is None:
        return GONE
    if code == -signal.SIGKILL:
        return (
            "The worker process was killed (SIGKILL), most often because the machine ran out of memory; "
            "try a smaller model, length or batch, or close other programs."
        )
    if code < 0:
        return f"The worker process was ended by {signal.Signals(-code).name}; run it again."
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"The worker process ended with exit code {code}{': ' + last[:300] if last else ''}; see {log}."


def _environment() -> dict[str, str]:
    """Return this process's environment, in which the worker imports the same package."""
    here = str(Path(__file__).resolve().parents[2])
    rest = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part and part != here]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([here, *rest])}


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
