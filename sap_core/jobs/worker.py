"""The worker process: ``python -m sap_core.jobs.worker ROOT [LANE]``.

One per root and lane. It runs the lane's jobs in order, writes their progress, minds their cancel flags, and ends when
asked (SIGTERM) or when no process that wanted it lives any more; the one in the background also when it has nothing to
do. A job that fails, fails alone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import Cancelled, InvalidInput, OperationFailed, SapError
from ..progress import Progress, ProgressCallback
from ..runs.files import write_json
from ..runs.store import one_line
from ..specs import Spec, parse_spec
from ..storage import storage_path
from .documents import JobDocument, read_job_document
from .layout import BACKGROUND, GONE, INTERACTIVE, LANES, OPEN, JobFolder

# (spec, folder of the run to make, progress) -> folder of the run that was made
Execute = Callable[[Spec, Path, ProgressCallback], Any]

KEPT_JOBS = 200
POLL = 0.05  # seconds between looks at the queue
WATCH = 1.0  # seconds between looks for living clients
WRITE_EVERY = 0.1  # seconds between two progress files
GRACE = 10.0  # seconds a job gets to reach its next step once the worker must end
IDLE = 60.0  # seconds without a job after which a worker in the background ends, and its memory is free
OVERTAKEN = 300.0  # seconds that a sweep (a search) waits for interactive jobs between two cells (reports), at most


def serve(root: str | os.PathLike, make_execute: Callable[[], Execute], lane: str = INTERACTIVE) -> int:
    """Run the worker of a lane of ``root`` until it is told to end, and return the exit status.

    ``make_execute`` may take its time (it imports the engine). What it returns may have a method ``release``, which
    lets go of memory that is held to be quick.
    """
    files = JobFolder(root, lane)
    files.make()
    lock = files.hold_lock()
    if lock is None:
        return 0  # another worker serves this lane
    files.worker.unlink(missing_ok=True)
    _first_to_go()
    worker = Worker(files)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop("The worker was asked to stop."))
    worker.recover()
    threading.Thread(target=worker.watch, daemon=True).start()
    execute = make_execute()
    write_json(files.worker, {"pid": os.getpid(), "started": time.time()})
    idle = time.monotonic()
    while not worker.stopping:
        if worker.run_next(execute):
            idle = time.monotonic()
        elif lane == BACKGROUND and time.monotonic() - idle > IDLE:
            lock.close()
            # A job that came before the lock was free relied on this worker.
            lock = files.hold_lock(0) if files.waiting() else None
            if lock is None:
                return 0
        else:
            if files.release.exists():
                files.release.unlink(missing_ok=True)
                getattr(execute, "release", lambda: None)()
            time.sleep(POLL)
    lock.close()
    return 0


class Worker:
    """The parts of the worker's loop, each usable alone."""

    def __init__(self, files: JobFolder) -> None:
        self.files = files
        self.stopping = ""
        self._others = JobFolder(files.root) if files.lane == BACKGROUND else None

    def stop(self, reason: str) -> None:
        """End after the running job's next step."""
        self.stopping = self.stopping or reason

    def recover(self) -> None:
        """Mark the job of a dead predecessor as failed, and remove old finished jobs."""
        for job_id in self.files.taken():
            self.files.claim(job_id)
            self.files.set_state(job_id, "failed", ended=time.time(), error=GONE)
        for job_id in self.files.ids()[KEPT_JOBS:]:
            if self.files.state(job_id)["state"] not in OPEN:  # of either lane
                shutil.rmtree(self.files.job(job_id), ignore_errors=True)

    def watch(self) -> None:
        """Watch, in a thread, for a request to stop and the end of all clients; end the worker then, or kill it."""
        while not self.stopping and self.files.clients_alive():
            time.sleep(WATCH)
        self.stop("The studio was closed.")
        time.sleep(GRACE)
        job_id = self.files.running()
        if job_id is not None:
            error = f"{self.stopping} The step it was at took too long to end; the steps before it are kept."
            with contextlib.suppress(OSError, SapError):
                self.files.set_state(job_id, "cancelled", ended=time.time(), error=error)
        os._exit(1)

    def run_next(self, execute: Execute) -> bool:
        """Run the oldest waiting job to its end; return False if none waits."""
        job_id = next((job for job in self.files.waiting() if self.files.claim(job)), None)
        if job_id is None:
            return False
        folder = self.files.job(job_id)
        started = time.time()
        try:
            self.files.set_state(job_id, "running", started=started)
            with contextlib.suppress(OSError):  # a full disk: then it is not seen what is ahead
                self.files.current.write_text(job_id, encoding="utf-8")
            job = read_job_document(folder / "job.json", JobDocument)
            if job is None:
                raise OperationFailed(f"The job file in {folder} can't be used; submit it again.")
            # Between two reports a sweep has measured a cell, a search a candidate: the next may wait.
            yields = self._others is not None and (job["spec"]["kind"] == "sweep" or "strategy" in job["spec"])
            run = execute(parse_spec(job["spec"]), storage_path(job["run"]), self._reporter(folder, yields))
            outcome = {"state": "finished", "run": run or job["run"]}
        except (Cancelled, KeyboardInterrupt) as error:
            outcome = {"state": "cancelled", "error": one_line(error)}
        except BaseException as error:
            outcome = {"state": "failed", "error": one_line(error)}
            if not isinstance(error, InvalidInput):
                _log(folder, started)
        try:
            self.files.set_state(job_id, outcome.pop("state"), ended=time.time(), **outcome)
            self.files.current.unlink(missing_ok=True)
        except (OSError, SapError):
            pass  # the job's folder is gone or can't be written; the next job is not to suffer
        return True

    def _check(self, cancel: Path) -> None:
        """Raise Cancelled where somebody asked the job to stop."""
        if self.stopping:
            raise Cancelled(self.stopping)
        if cancel.exists():
            raise Cancelled("Cancelled; what was done until then is kept.")

    def _let_pass(self, cancel: Path) -> None:
        """Wait while interactive jobs are at work; a cell that runs meanwhile goes on, the next one is not begun."""
        end = time.monotonic() + OVERTAKEN
        while self._others is not None and self._others.busy() and time.monotonic() < end:
            self._check(cancel)
            time.sleep(POLL)

    def _reporter(self, folder: Path, yields: bool = False) -> ProgressCallback:
        """Return the progress callback of a job: it stores the report, and stops the work after a cancel request.

        ``yields``: between two reports interactive jobs come first.
        """
        begun, first, stage, written = time.monotonic(), 0, "", 0.0
        cancel = folder / "cancel"

        def report(progress: Progress) -> None:
            self._check(cancel)
            note(progress)
            if yields:
                self._let_pass(cancel)

        def note(progress: Progress) -> None:
            nonlocal begun, first, stage, written
            now = time.monotonic()
            new = progress.stage != stage
            if new:
                begun, first, stage = now, progress.done, progress.stage
            if not new and progress.done < progress.total and now - written < WRITE_EVERY:
                return
            written = now
            document = {
                "stage": progress.stage,
                "done": progress.done,
                "total": progress.total,
                "message": progress.message,
                "data": progress.data,
                "stage_from": first,
                "stage_seconds": now - begun,
                "written": time.time(),
            }
            try:
                write_json(folder / "progress.json", document)
            except OperationFailed:
                return  # a full disk ends the work where its results are written, with a better message

        return report


def _first_to_go() -> None:
    """Tell the system to end this process rather than the web server if memory runs out."""
    try:
        Path("/proc/self/oom_score_adj").write_text("500")
    except OSError:
        return


def _log(folder: Path, started: float) -> None:
    """Write the traceback to the job's log; on a full disk, nothing is written."""
    with contextlib.suppress(OSError), open(folder / "log.txt", "a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(started))} UTC\n{traceback.format_exc()}\n")


class _Engine:
    """The engine with its threads settled, and the models that stay warm: of each lane its share of the memory."""

    def __init__(self, root: str, lane: str) -> None:
        import psutil
        import torch

        torch.set_num_threads(thread_count())
        from .cache import SHARE, ModelCache
        from .execute import execute

        self._execute = execute
        self._models = ModelCache(int(SHARE * psutil.virtual_memory().total / len(LANES)))
        self._others = JobFolder(root) if lane == BACKGROUND else None

    def __call__(self, spec: Spec, out: Path, progress: ProgressCallback) -> Any:
        if self._others is not None:
            self._ask_for_memory(spec, self._others)
        return self._execute(spec, out, self._models, progress)

    def release(self) -> None:
        """Let go of the warm models."""
        self._models.clear()

    def _ask_for_memory(self, spec: Any, others: JobFolder) -> None:
        """Ask the other lane to let go of its models where the job's model and a pruned copy would not fit."""
        import psutil

        from ..models.inspection import inspect_model

        with contextlib.suppress(SapError, OSError, AttributeError):  # a job without a model, or a wrong one
            needed = 2 * inspect_model(spec.model, **spec.inspecting).bytes
            if psutil.virtual_memory().available < needed and others.worker_alive():
                others.release.touch()


def thread_count() -> int:
    """Return the engine's threads: OMP_NUM_THREADS if set, else the usable cores (one less from four cores on)."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return usable - 1 if usable >= 4 else usable


if __name__ == "__main__":
    _root, _lane = [*sys.argv[1:], INTERACTIVE][:2]
    sys.exit(serve(_root, lambda: _Engine(_root, _lane), _lane))
