"""What a job is on disk, shared by the client and the worker. No torch here."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
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
from .documents import ProgressDocument, StateDocument, read_job_document

if TYPE_CHECKING:
    from ..storage.paths import StoragePath

_registered: dict[Path, Lock] = {}  # of this process, by the file that says so
OPEN = ("queued", "running")
#: What is said of a job whose worker is gone, where nobody can know how it ended.
GONE = "The worker process ended unexpectedly; run it again."


@dataclass(frozen=True)
class JobStatus:
    """One look at a job. Times are seconds since 1970; ``run_path`` is None until the run folder exists."""

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
    ahead: int = 0  # jobs before this one, the running one among them
    remaining: float | None = None  # estimated seconds until the present stage ends

    @property
    def open(self) -> bool:
        """Whether anything can still change."""
        return self.state in OPEN

    @property
    def seconds(self) -> float:
        """How long it has run, or ran."""
        if self.started is None:
            return 0.0
        return max(0.0, (self.ended or time.time()) - self.started)


class JobFolder:
    """Paths and small documents under ``<root>/.jobs``; for a root at an address, in the user's cache on this machine:
    a queue needs locks, and its worker is here."""

    def __init__(self, root: str | os.PathLike) -> None:
        self.root = storage_path(root)
        self.path = self.root / ".jobs"
        if storage_of(self.root).remote:
            cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
            self.path = cache / "sap-studio" / "jobs" / hashlib.sha256(str(self.root).encode()).hexdigest()[:16]
        self.queue = self.path / "queue"
        self.clients = self.path / "clients"
        self.lock = self.path / "worker.lock"
        self.worker = self.path / "worker.json"
        self.log = self.path / "worker.log"

    def make(self) -> None:
        for folder in (self.queue, self.clients):
            folder.mkdir(parents=True, exist_ok=True)

    def job(self, job_id: str) -> Path:
        return self.path / job_id

    def waiting(self) -> list[str]:
        """Ids in the queue, oldest first."""
        try:
            return sorted(os.listdir(self.queue))
        except FileNotFoundError:
            return []

    def claim(self, job_id: str) -> bool:
        """Take a job out of the queue; True for exactly one caller."""
        try:
            (self.queue / job_id).unlink()
        except FileNotFoundError:
            return False
        return True

    def ids(self) -> list[str]:
        """Return all job ids, newest first."""
        return sorted((path.parent.name for path in self.path.glob("*/job.json")), reverse=True)

    def taken(self) -> list[str]:
        """Jobs that a worker took and has not ended: where none lives, what the dead one was at."""
        ids = self.ids()  # before the queue is read: a job that comes meanwhile is not among them
        waiting = set(self.waiting())
        states = ((job_id, self.state(job_id)["state"]) for job_id in ids)
        return [job for job, state in states if state == "running" or (state == "queued" and job not in waiting)]

    def ahead(self, job_id: str) -> int:
        """Jobs before this one, the running one among them. Jobs begin in order, so behind the newest that has run to
        its end there is none to look at."""
        waiting = self.waiting()
        for other in self.ids():
            if other >= job_id or other in waiting:
                continue
            state = self.state(other)["state"]
            if state in ("running", "finished", "failed"):
                return sum(job < job_id for job in waiting) + (state == "running")
        return sum(job < job_id for job in waiting)

    def state(self, job_id: str) -> dict[str, Any]:
        """Return the state; a document that is damaged counts as that of a failed job, a missing one as queued."""
        path = self.job(job_id) / "state.json"
        try:
            return read_document(path, StateDocument) or {"state": "queued"}
        except RunProblem:
            return {"state": "failed", "error": "Its state can't be read; run it again."}

    def set_state(self, job_id: str, state: str, **fields: Any) -> None:
        """Write a job's state, even on a full disk: there, the old file's own block is written over."""
        path = self.job(job_id) / "state.json"
        document = {**self.state(job_id), "state": state, **fields}
        try:
            write_json(path, document)
        except OperationFailed:
            with open(path, "r+", encoding="utf-8") as file:
                json.dump(plain(document), file)
                file.truncate()

    def worker_alive(self) -> bool:
        """Return whether a worker holds the lock. The system drops the lock with the process, however that ends."""
        try:
            with open(self.lock, "rb") as file:
                return not try_lock(file, shared=True)
        except FileNotFoundError:
            return False

    def hold_lock(self, patience: float = 3.0) -> IO[bytes] | None:
        """Become the one worker; None when there is another. Waits out the clients' glances at the lock."""
        file = open(self.lock, "ab")
        end = time.monotonic() + patience
        while not try_lock(file):
            if time.monotonic() > end:
                file.close()
                return None
            time.sleep(0.05)
        return file

    def register_client(self) -> None:
        """Tell the worker that this process wants it alive: by a lock, which goes with the process."""
        path = self.clients / f"{os.getpid()}.lock"
        if _registered.get(path) is not None and path.exists():
            return
        new = self.clients / f".{os.getpid()}.{os.urandom(4).hex()}"
        new.touch()
        _registered[path] = Lock(new)  # which stays with the file when that gets its name
        new.replace(path)

    def clients_alive(self) -> bool:
        """Return whether any registered process lives; the entries of dead ones are removed."""
        alive = False
        for path in self.clients.glob("*.lock"):
            if is_locked(path):
                alive = True
            else:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
        return alive


def read_progress(job: Path) -> tuple[Progress | None, float | None]:
    """Return the last report and the estimated seconds until its stage ends (None before there is a basis for it)."""
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
