"""The files of a job, shared by the client and the worker. No torch here."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..errors import OperationFailed, RunProblem
from ..file_locks import try_lock
from ..progress import Progress
from ..runs.documents import read_document
from ..runs.files import plain, write_json
from ..storage import storage_of, storage_path
from ..storage.locks import Lock, is_locked
from .documents import JobDocument, ProgressDocument, StateDocument, read_job_document

if TYPE_CHECKING:
    from ..storage.paths import StoragePath

_registered: dict[Path, Lock] = {}  # of this process, by the file that says so
OPEN = ("queued", "running")
#: Two queues with a worker process each, so that what somebody waits for at the screen never waits for a sweep.
INTERACTIVE, BACKGROUND = LANES = ("interactive", "background")
IN_BACKGROUND = (
    "sweep",
    "prune_checkpoint",
    "elastic",
    "heal",
    "push",
    "ablate_sinks",
    "ablate_heads",
)  # kinds of jobs
#: Kinds whose folder may exist: they go on with what it holds, after a look into it of their own.
GOES_ON_IN_PLACE = ("sweep", "ablate_sinks", "ablate_heads")
LONG_STRATEGIES = ("progressive", "search")  # prunings that prune and measure many times
#: What is said of a job whose worker is gone, where nobody can know how it ended.
GONE = "The worker process ended unexpectedly; run it again."


@dataclass(frozen=True)
class JobStatus:
    """State of a job at one moment. Times are seconds since 1970; ``run_path`` is None until the run folder exists."""

    id: str
    kind: str
    state: str  # queued, running, finished, failed or cancelled
    spec: dict[str, Any]
    progress: Progress | None
    run_path: StoragePath | None
    error: str
    submitted: float
    started: float | None
    ended: float | None
    ahead: int = 0  # jobs before this one in its lane, the running one among them
    lane: str = INTERACTIVE
    before: tuple[str, ...] = ()  # their ids, the next to run first
    remaining: float | None = None  # estimated seconds until the present stage ends

    @property
    def open(self) -> bool:
        """Whether the state can still change."""
        return self.state in OPEN

    @property
    def seconds(self) -> float:
        """Seconds that the job has run."""
        if self.started is None:
            return 0.0
        return max(0.0, (self.ended or time.time()) - self.started)


def lane_of(spec: Mapping[str, Any]) -> str:
    """Return the lane in which the job of a spec's document runs."""
    long = spec["kind"] in IN_BACKGROUND or spec.get("strategy") in LONG_STRATEGIES
    return BACKGROUND if long else INTERACTIVE


class JobFolder:
    """Paths and small documents under ``<root>/.jobs``.

    For a root at an address they are in the user's cache on this machine: a queue needs locks, and its worker is here.
    Jobs lie side by side; queue and worker are those of one lane.
    """

    def __init__(self, root: str | os.PathLike, lane: str = INTERACTIVE) -> None:
        self.root = storage_path(root)
        self.lane = lane
        self.path = self.root / ".jobs"
        if storage_of(self.root).remote:
            cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
            self.path = cache / "sap-studio" / "jobs" / hashlib.sha256(str(self.root).encode()).hexdigest()[:16]
        place = self.path if lane == INTERACTIVE else self.path / lane
        self.queue = place / "queue"
        self.clients = self.path / "clients"
        self.lock = place / "worker.lock"
        self.worker = place / "worker.json"
        self.log = place / "worker.log"
        self.current = place / "current"  # the job at work
        self.release = place / "release"  # asks the worker to let go of the models that it keeps

    def make(self) -> None:
        """Create the folders."""
        for folder in (self.queue, self.clients):
            folder.mkdir(parents=True, exist_ok=True)

    def job(self, job_id: str) -> Path:
        """Return the folder of a job."""
        return self.path / job_id

    def waiting(self) -> list[str]:
        """Return the ids in the queue, the next to run first: as they came, unless `move` has changed that."""
        try:
            ids = os.listdir(self.queue)
        except FileNotFoundError:
            return []
        return sorted(ids, key=lambda job_id: (self._place(job_id), job_id))

    def move(self, job_id: str, to: int) -> bool:
        """Put a waiting job at place ``to`` of the queue, 0 being the next to run; False where it waits no more."""
        order = self.waiting()
        if job_id not in order:
            return False
        order.remove(job_id)
        order.insert(max(0, to), job_id)
        for number, other in enumerate(order):
            with contextlib.suppress(FileNotFoundError), open(self.queue / other, "r+", encoding="utf-8") as file:
                file.write(f"{number:<9}")  # never makes the file: a job that was taken just now stays taken
        return True

    def _place(self, job_id: str) -> float:
        try:
            return float((self.queue / job_id).read_text(encoding="utf-8") or "inf")
        except (OSError, ValueError):
            return float("inf")

    def running(self) -> str | None:
        """Return the job at work; None where there is none."""
        try:
            job_id = self.current.read_text(encoding="utf-8")
        except OSError:
            return None
        return job_id if re.fullmatch(r"[\w-]+", job_id) and self.state(job_id)["state"] == "running" else None

    def busy(self) -> bool:
        """Return whether a job is at work or waits."""
        return bool(self.waiting()) or self.running() is not None

    def claim(self, job_id: str) -> bool:
        """Take a job out of the queue; return True for exactly one caller."""
        try:
            (self.queue / job_id).unlink()
        except FileNotFoundError:
            return False
        return True

    def ids(self) -> list[str]:
        """Return all job ids, newest first."""
        return sorted((path.parent.name for path in self.path.glob("*/job.json")), reverse=True)

    def taken(self) -> list[str]:
        """Return the jobs that a worker took and has not ended; without a worker, those that a dead one was running."""
        ids = self.ids()  # before the queue is read: a job that comes meanwhile is not among them
        waiting = set(self.waiting())
        states = ((job_id, self.state(job_id)["state"]) for job_id in ids)
        found = [job for job, state in states if state == "running" or (state == "queued" and job not in waiting)]
        return [job for job in found if self.lane_of(job) == self.lane]

    def lane_of(self, job_id: str) -> str:
        """Return the lane that a job was given to."""
        job = read_job_document(self.job(job_id) / "job.json", JobDocument)
        return INTERACTIVE if job is None else lane_of(job["spec"])

    def before(self, job_id: str) -> tuple[str, ...]:
        """Return the jobs before a waiting one, the running one first."""
        waiting, running = self.waiting(), self.running()
        ahead = waiting[: waiting.index(job_id)] if job_id in waiting else []
        return (*([running] if running else []), *ahead)

    def state(self, job_id: str) -> dict[str, Any]:
        """Return the state of a job: failed if the document is damaged, queued if it is missing."""
        path = self.job(job_id) / "state.json"
        try:
            return read_document(path, StateDocument) or {"state": "queued"}
        except RunProblem:
            return {"state": "failed", "error": "Its state can't be read; run it again."}

    def set_state(self, job_id: str, state: str, **fields: Any) -> None:
        """Write a job's state, even on a full disk: there, the old file's own block is overwritten."""
        path = self.job(job_id) / "state.json"
        document = {**self.state(job_id), "state": state, **fields}
        try:
            write_json(path, document)
        except OperationFailed:
            with open(path, "r+", encoding="utf-8") as file:
                json.dump(plain(document), file)
                file.truncate()

    def worker_alive(self) -> bool:
        """Return whether a worker holds the lock, which the system releases when the process ends in any way."""
        try:
            with open(self.lock, "rb") as file:
                return not try_lock(file, shared=True)
        except FileNotFoundError:
            return False

    def hold_lock(self, patience: float = 3.0) -> IO[bytes] | None:
        """Become the one worker; return None if there is another. Waits while clients test the lock."""
        file = open(self.lock, "ab")
        end = time.monotonic() + patience
        while not try_lock(file):
            if time.monotonic() > end:
                file.close()
                return None
            time.sleep(0.05)
        return file

    def register_client(self) -> None:
        """Register this process as one that needs the worker, by a lock that is released when the process ends."""
        path = self.clients / f"{os.getpid()}.lock"
        if _registered.get(path) is not None and path.exists():
            return
        new = self.clients / f".{os.getpid()}.{os.urandom(4).hex()}"
        new.touch()
        _registered[path] = Lock(new)  # which stays with the file when that gets its name
        new.replace(path)

    def clients_alive(self) -> bool:
        """Return whether any registered process runs, and remove the entries of those that do not."""
        alive = False
        for path in self.clients.glob("*.lock"):
            if is_locked(path):
                alive = True
            else:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
        return alive


def read_progress(job: Path) -> tuple[Progress | None, float | None]:
    """Return the last report and the estimated seconds until its stage ends (None while no estimate is possible)."""
    document = read_job_document(job / "progress.json", ProgressDocument)
    if not document:
        return None, None
    progress = Progress(*(document[key] for key in ("stage", "done", "total", "message", "data")))
    steps = progress.done - document["stage_from"]  # the time of the first report's own step is not known
    if steps < 1 or progress.done > progress.total:
        return progress, None
    pace = document["stage_seconds"] / steps
    since = max(0.0, time.time() - document["written"])
    return progress, max(0.0, pace * (progress.total - progress.done) - since)
