"""What executors share: tasks, events, and the choice of a worker's next task. No torch here."""

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
    """A report of an executor.

    Attributes:
        kind: "begun", "progress", "finished", "failed" (for good), "lost" (the task is tried again) or "idle" (nothing
            new; lets the driver check for other work).
        record: A `Progress` as a dict for "progress", the runner's result for "finished".
        error: The reason for "failed" and "lost".
    """

    kind: str
    task: Task | None = None
    record: dict[str, Any] = field(default_factory=dict)
    error: str = ""


class Waiting:
    """The tasks that are not assigned to a worker."""

    def __init__(self, tasks: Iterable[Task], retries: int = RETRIES) -> None:
        self._tasks = list(tasks)
        self._retries = retries
        self._lost: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def take(self, last: str | None, busy: set[str]) -> Task | None:
        """Return a worker's next task: of its ``last`` group, else of a group that no other worker has, else the first.

        ``busy``: groups of the other workers.
        """
        if not self._tasks:
            return None
        mine = (task for task in self._tasks if task.group == last)
        fresh = (task for task in self._tasks if task.group not in busy)
        task = next(mine, None) or next(fresh, None) or self._tasks[0]
        self._tasks.remove(task)
        return task

    def requeue(self, task: Task, reason: str) -> Event:
        """Queue the task of a lost worker again, or mark it as failed after too many losses; return the event."""
        count = self._lost[task.id] = self._lost.get(task.id, 0) + 1
        if count > self._retries:
            return Event("failed", task, error=f"{reason}; given up after {count} workers were lost with it")
        self._tasks.insert(0, task)
        return Event("lost", task, error=reason)
