"""The process that does the work: ``python -m sap_core.jobs.worker ROOT``.

One per root. It runs the queued jobs in order, writes their progress, minds their cancel flags, and ends when asked
(SIGTERM) or when no process that wanted it lives any more. A job that fails, fails alone.
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
from .layout import GONE, JobFolder

# (spec, folder of the run to make, progress) -> folder of the run that was made
Execute = Callable[[Spec, Path, ProgressCallback], Any]

KEPT_JOBS = 200
POLL = 0.05  # seconds between looks at the queue
WATCH = 1.0  # seconds between looks for living clients
WRITE_EVERY = 0.1  # seconds between two progress files
GRACE = 10.0  # seconds a job gets to reach its next step once the worker must end


def serve(root: str | os.PathLike, make_execute: Callable[[], Execute]) -> int:
    """Be the worker of ``root`` until told to end. ``make_execute`` may take its time (it imports the engine)."""
    files = JobFolder(root)
    files.make()
    lock = files.hold_lock()
    if lock is None:
        return 0  # another worker serves this root
    files.worker.unlink(missing_ok=True)
    _first_to_go()
    worker = Worker(files)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop("The worker was asked to stop."))
    worker.recover()
    threading.Thread(target=worker.watch, daemon=True).start()
    execute = make_execute()
    write_json(files.worker, {"pid": os.getpid(), "started": time.time()})
    while not worker.stopping:
        if not worker.run_next(execute):
            time.sleep(POLL)
    lock.close()
    return 0


class Worker:
    """The loop's parts, each usable alone."""

    def __init__(self, files: JobFolder) -> None:
        self.files = files
        self.stopping = ""

    def stop(self, reason: str) -> None:
        """End after the running job's next step."""
        self.stopping = self.stopping or reason

    def recover(self) -> None:
        """What a dead predecessor left: its job is failed, not repeated; old finished jobs are tidied away."""
        for job_id in self.files.taken():
            self.files.claim(job_id)
            self.files.set_state(job_id, "failed", ended=time.time(), error=GONE)
        waiting = set(self.files.waiting())
        for job_id in self.files.ids()[KEPT_JOBS:]:
            if job_id not in waiting:
                shutil.rmtree(self.files.job(job_id), ignore_errors=True)

    def watch(self) -> None:
        """In a thread: end the worker when nobody is left who wants it, by force if a job does not listen."""
        while self.files.clients_alive():
            time.sleep(WATCH)
        self.stop("The studio was closed.")
        time.sleep(GRACE)
        os._exit(1)

    def run_next(self, execute: Execute) -> bool:
        """Run the oldest waiting job to its end; False when none waits."""
        job_id = next((job for job in self.files.waiting() if self.files.claim(job)), None)
        if job_id is None:
            return False
        folder = self.files.job(job_id)
        started = time.time()
        try:
            self.files.set_state(job_id, "running", started=started)
            job = read_job_document(folder / "job.json", JobDocument)
            if job is None:
                raise OperationFailed(f"The job file in {folder} can't be used; submit it again.")
            run = execute(parse_spec(job["spec"]), storage_path(job["run"]), self._reporter(folder))
            outcome = {"state": "finished", "run": run or job["run"]}
        except (Cancelled, KeyboardInterrupt) as error:
            outcome = {"state": "cancelled", "error": one_line(error)}
        except BaseException as error:
            outcome = {"state": "failed", "error": describe(error)}
            if not isinstance(error, InvalidInput):
                _log(folder, started)
        try:
            self.files.set_state(job_id, outcome.pop("state"), ended=time.time(), **outcome)
        except (OSError, SapError):
            pass  # the job's folder is gone or can't be written; the next job is not to suffer
        return True

    def _reporter(self, folder: Path) -> ProgressCallback:
        """Return the callback given to the work: passes the report on, and stops the work when somebody asked for
        it."""
        begun, first, stage, written = time.monotonic(), 0, "", 0.0
        cancel = folder / "cancel"

        def report(progress: Progress) -> None:
            nonlocal begun, first, stage, written
            if self.stopping:
                raise Cancelled(self.stopping)
            if cancel.exists():
                raise Cancelled("Cancelled; what was done until then is kept.")
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


def describe(error: BaseException) -> str:
    """Return one line for the person who waits; memory gets its own words."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "Out of memory; try a smaller model, a shorter length, fewer prompts, or a smaller dtype."
    return one_line(error)


def _first_to_go() -> None:
    """When memory runs out, the system should end this process and not the web server."""
    try:
        Path("/proc/self/oom_score_adj").write_text("500")
    except OSError:
        return


def _log(folder: Path, started: float) -> None:
    """The traceback for whoever looks into it. On a full disk there is none, and worker.log can't be written either."""
    with contextlib.suppress(OSError), open(folder / "log.txt", "a", encoding="utf-8") as file:
        file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(started))} UTC\n{traceback.format_exc()}\n")


def _engine() -> Execute:
    """Import the engine, settle its threads, and bind the models that stay warm."""
    import torch

    torch.set_num_threads(thread_count())
    from .cache import ModelCache
    from .execute import execute

    models = ModelCache()
    return lambda spec, out, progress: execute(spec, out, models, progress)


def thread_count() -> int:
    """Threads for the engine: OMP_NUM_THREADS if set, else the usable cores, one left to the server from four on."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return usable - 1 if usable >= 4 else usable


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1], _engine))
