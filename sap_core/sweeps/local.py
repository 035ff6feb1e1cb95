"""The local executor: worker processes on this machine, each with its own loaded model. No torch here."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import OperationFailed
from .tasks import (
    RETRIES,
    Event,
    Task,
    Waiting,
)

_PACKAGE = Path(__file__).resolve().parents[2]
_LOOK_UP = 0.5  # seconds without news after which the driver is asked whether to go on


class LocalExecutor:
    """Runs tasks in ``workers`` processes.

    ``gpus``: GPUs to distribute the workers over, by index; each worker sees one of them only. ``threads``: CPU threads
    per worker; default: the machine's cores shared equally, unless OMP_NUM_THREADS is set.
    """

    def __init__(
        self, workers: int = 1, *, gpus: tuple[str, ...] = (), threads: int | None = None, retries: int = RETRIES
    ) -> None:
        self.workers = workers
        self.gpus = gpus
        self.threads = threads or max(1, _cores() // workers)
        self.retries = retries

    def run(self, tasks: list[Task], runner: str, options: dict[str, Any]) -> Iterator[Event]:
        """Yield events until every task is finished or has failed; closing the iterator ends the workers at once.

        A worker that is lost (killed, out of memory) is replaced, and its task tried again a few times.

        Raises:
            OperationFailed: the runner can't be made, for example because the model does not load.
        """
        waiting = Waiting(tasks, self.retries)
        inbox: queue.Queue[tuple[_Worker, dict[str, Any] | None]] = queue.Queue()
        first = {"runner": runner, "options": options}
        workers = [_Worker(first, self._environment(i), inbox) for i in range(min(self.workers, len(tasks)))]
        try:
            for worker in workers:
                yield from self._employ(worker, waiting, workers)
            while any(worker.task for worker in workers):
                try:
                    worker, message = inbox.get(timeout=_LOOK_UP)
                except queue.Empty:
                    yield Event("idle")
                    continue
                task = worker.task
                if message is None:
                    if worker not in workers or task is None:
                        continue
                    yield waiting.requeue(task, worker.exit_reason())
                    index = workers.index(worker)
                    workers[index] = worker = _Worker(first, self._environment(index), inbox)
                elif "unusable" in message:
                    raise OperationFailed(message["unusable"])
                elif "progress" in message:
                    yield Event("progress", task, record=message["progress"])
                    continue
                elif "record" in message:
                    yield Event("finished", task, record=message["record"])
                else:
                    yield Event("failed", task, error=message["error"])
                worker.task = None
                yield from self._employ(worker, waiting, workers)
        finally:
            for worker in workers:
                worker.end()

    def close(self) -> None:
        """Do nothing: no process outlives `run`."""

    def _employ(self, worker: _Worker, waiting: Waiting, workers: list[_Worker]) -> Iterator[Event]:
        task = waiting.take(worker.group, {other.group for other in workers if other.group})
        if task is None:
            worker.end()
            return
        worker.give(task)
        yield Event("begun", task)

    def _environment(self, index: int) -> dict[str, str]:
        environment = dict(os.environ)
        environment.setdefault("OMP_NUM_THREADS", str(self.threads))
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_PACKAGE), environment.get("PYTHONPATH")]))
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[index % len(self.gpus)]
        return environment


class _Worker:
    """One process and its task. Its answers go to ``inbox`` as (worker, message), its end as (worker, None)."""

    def __init__(self, first: dict[str, Any], environment: dict[str, str], inbox: queue.Queue) -> None:
        self.task: Task | None = None
        self.group: str | None = None
        self._log = tempfile.TemporaryFile()
        self._process: Any = subprocess.Popen(
            [sys.executable, "-m", "sap_core.sweeps.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            encoding="utf-8",
            start_new_session=True,
        )
        self._send(first)
        threading.Thread(target=self._listen, args=(inbox,), daemon=True).start()

    def give(self, task: Task) -> None:
        self.task, self.group = task, task.group
        self._send(task.payload)

    def exit_reason(self) -> str:
        """Return how the process ended, and its last output."""
        try:
            code = self._process.wait(timeout=_LOOK_UP)
        except subprocess.TimeoutExpired:  # it fell silent but lives
            self._process.kill()
            code = self._process.wait()
        if code < 0:
            killed = signal.Signals(-code).name
            why = f"the worker was killed ({killed}{'; out of memory?' if killed == 'SIGKILL' else ''})"
        else:
            why = f"the worker ended with status {code}"
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip().splitlines()
        return f"{why}: {said[-1].strip()}" if said else why

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except OSError:
            return  # it is gone: its end is on the way to the inbox

    def _listen(self, inbox: queue.Queue) -> None:
        for line in self._process.stdout:
            try:
                inbox.put((self, json.loads(line)))
            except ValueError:
                break  # cut off by the worker's death
        inbox.put((self, None))


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
