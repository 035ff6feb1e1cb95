"""Choose the executor of a sweep, and report its progress."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvalidInput, UnknownOption
from ..progress import Progress, ProgressCallback
from .local import LocalExecutor
from .ray_actors import RayExecutor
from .tasks import Event

EXECUTORS = ("local", "ray")


def make_executor(
    executor: str | Any,
    device: str,
    *,
    workers: int | None = None,
    address: str = "auto",
    gpus_per_worker: float | None = None,
    cpus_per_worker: float = 1,
) -> Any:
    """Return the executor of that name for models on ``device``; an object like `LocalExecutor` is returned as it is.

    Raises:
        UnknownOption, InvalidInput: no such executor; no worker; Ray is missing or no cluster is at the address.
    """
    if not isinstance(executor, str):
        return executor
    if workers is not None and workers < 1:
        raise InvalidInput(f"workers is {workers}; at least 1 is needed.")
    if executor == "local":
        result = _gpus() if device in ("auto", "cuda") else ()
        return LocalExecutor(workers or max(1, len(result)), gpus=result)
    if executor == "ray":
        return RayExecutor(workers, address=address, gpus=gpus_per_worker, cpus=cpus_per_worker)
    raise UnknownOption("executor", executor, EXECUTORS)


def _gpus() -> tuple[str, ...]:
    """Return the GPUs that workers may use, as CUDA_VISIBLE_DEVICES counts them."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
    return tuple(names) if torch.cuda.is_available() else ()


@dataclass
class ProgressBoard:
    """Turns events of an executor into progress reports of a ``stage``: what runs and how much is done."""

    stage: str
    total: int
    done: int
    progress: ProgressCallback
    running: dict[str, dict[str, Any]] = field(default_factory=dict)

    def show(self, event: Event) -> None:
        """Record an event and report; the callback may raise Cancelled."""
        task = event.task
        if task is not None and event.kind in ("begun", "progress"):
            known = {key: event.record[key] for key in ("stage", "done", "total") if key in event.record}
            self.running[task.id] = known
        elif task is not None:
            self.running.pop(task.id, None)
            self.done += event.kind == "finished"
        message = {"finished": "", "failed": f" failed: {event.error}", "lost": f" again: {event.error}"}
        if task is not None:
            text = f"{task.id}{message.get(event.kind, '')}"
        else:
            text = ", ".join(self.running) or "waiting for workers"
        self.progress(Progress(self.stage, self.done, self.total, text, {"running": dict(self.running)}))
