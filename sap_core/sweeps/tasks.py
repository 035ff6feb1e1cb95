"""What executors share: tasks, what becomes of them, and which is next for a worker. No torch here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

RETRIES = 2  # how often a task is tried again after the worker that had it was lost


@dataclass(frozen=True)
class Task:
    """``payload`` is JSON-able and goes to the worker's runner; tasks of one ``group`` are best done by one worker."""

    id: str
    group: str
    payload: dict[str, Any]


@dataclass(frozen=True)
class Event:
    """What an executor reports: ``kind`` is "begun", "progress" (``record``: a Progress as a dict), "finished"
    (``record``: the runner's result), "failed" (``error``: why, for good), "lost" (``error``; the task is tried again)
    or "idle" (nothing new; lets the driver look up)."""

    kind: str
    task: Task | None = None
    record: dict[str, Any] = field(default_factory=dict)
    error: str = ""


class Waiting:
    """The tasks that no worker has."""

    def __init__(self, tasks: Iterable[Task], retries: int = RETRIES) -> None:
        self._tasks = list(tasks)
        self._retries = retries
        self._lost: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def take(self, last: str | None, busy: set[str]) -> Task | None:
        """Return the next task for a worker: of the group it did ``last``, else of a group that no other worker does
        (``busy``), else the first."""
        if not self._tasks:
            return None
        mine = (task for task in self._tasks if task.group == last)
        fresh = (task for task in self._tasks if task.group not in busy)
        task = next(mine, None) or next(fresh, None) or self._tasks[0]
        self._tasks.remove(task)
        return task

    def requeue(self, task: Task, reason: str) -> Event:
        """Return a worker was lost with ``task``: it waits again, or has failed after too many losses."""
        count = self._lost[task.id] = self._lost.get(task.id, 0) + 1
        if count > self._retries:
            return Event("failed", task, error=f"{reason}; given up after {count} workers were lost with it")
        self._tasks.insert(0, task)
        return Event("lost", task, error=reason)
