"""The Ray executor: one actor per worker, each with its own loaded model, anywhere in a Ray cluster (extra `[ray]`).

Ray places the actors, moves the data and reports failures; this driver distributes the cells. A cell is given only to a
running actor, so that work never waits for a machine that does not start. Results come back to the driver, which alone
writes; the cluster's machines need the package and the model, not the sweep's folder.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ..errors import InvalidInput, OperationFailed
from .tasks import (
    RETRIES,
    Event,
    Task,
    Waiting,
)

_LOOK_UP = 0.5  # seconds without news after which the driver is asked whether to go on


class RayExecutor:
    """Runs tasks on a Ray cluster.

    Args:
        workers: actors; None takes as many as the cluster has room for.
        address: "auto" joins the running cluster, "local" starts one on this machine, or ray://HOST:PORT.
        cpus, gpus: what one actor reserves; fractions of a GPU let small models share one. ``gpus`` None: a whole GPU
            each where the cluster has any, else none.

    Raises:
        InvalidInput: Ray is not installed, or no cluster is at the address.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        address: str = "auto",
        cpus: float = 1,
        gpus: float | None = None,
        retries: int = RETRIES,
    ) -> None:
        self.ray = _import_ray()
        self._joined = not self.ray.is_initialized()
        if self._joined:
            own = {"include_dashboard": False} if address == "local" else {}
            try:
                self.ray.init(address=address, log_to_driver=False, configure_logging=False, **own)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise InvalidInput(
                    f"no Ray cluster at '{address}' ({' '.join(str(error).split())[:160]}); start one with "
                    "`ray start --head`, or give --address local."
                ) from None
        room = self.ray.cluster_resources()
        self.cpus, self.gpus = cpus, (1.0 if room.get("GPU") else 0.0) if gpus is None else gpus
        self.workers = workers or self._fitting(room)
        self.retries = retries

    def run(self, tasks: list[Task], runner: str, options: dict[str, Any]) -> Iterator[Event]:
        """Yield events until every task is finished or has failed; closing the iterator ends the actors.

        An actor that is lost with its machine is replaced as soon as the cluster has room, and its task tried again.

        Raises:
            OperationFailed: the runner can't be made, for example because the model does not load.
        """
        waiting, failed_starts = Waiting(tasks, self.retries), 0
        workers = [_Actor(self, runner, options) for _ in range(min(self.workers, len(tasks)))]
        try:
            while len(waiting) or any(actor.task for actor in workers):
                ready, _ = self.ray.wait([actor.pending for actor in workers], timeout=_LOOK_UP)
                if not ready:
                    yield Event("idle")
                for actor in [actor for actor in workers if actor.pending in ready]:
                    workers.remove(actor)
                    try:
                        answer = self.ray.get(actor.pending)
                    except self.ray.exceptions.RayActorError as error:
                        lost = f"a Ray actor was lost ({_cause(error)})"
                        failed_starts += actor.task is None
                        if failed_starts > self.retries * self.workers:
                            raise OperationFailed(f"No Ray actor stays up: {lost}.") from None
                        if actor.task is not None:
                            yield waiting.requeue(actor.task, lost)
                        workers.append(_Actor(self, runner, options))
                        continue
                    yield from _told(answer, actor.task)
                    failed_starts = 0
                    following = waiting.take(actor.group, {other.group for other in workers if other.group})
                    if following is None:
                        actor.end()
                        continue
                    actor.give(following)
                    workers.append(actor)
                    yield Event("begun", following)
        finally:
            for actor in workers:
                actor.end()

    def close(self) -> None:
        """Leave the cluster; a cluster that this executor started is shut down."""
        if self._joined:
            self.ray.shutdown()

    def _fitting(self, room: dict[str, float]) -> int:
        counts = [room.get("CPU", 0) / self.cpus] if self.cpus else []
        counts += [room.get("GPU", 0) / self.gpus] if self.gpus else []
        return max(1, math.floor(min(counts))) if counts else 1


def _told(answer: dict[str, Any], task: Task | None) -> Iterator[Event]:
    """Yield what an actor's answer says of its task; the answer to its start says nothing."""
    if "unusable" in answer:
        raise OperationFailed(answer["unusable"])
    if "record" in answer:
        yield Event("finished", task, record=answer["record"])
    elif "error" in answer:
        yield Event("failed", task, error=answer["error"])


class _Actor:
    """A remote worker, its pending answer, and its task (none while it starts)."""

    def __init__(self, executor: RayExecutor, runner: str, options: dict[str, Any]) -> None:
        ray = executor.ray
        self._ray = ray
        self.task: Task | None = None
        self.group: str | None = None
        remote = ray.remote(num_cpus=executor.cpus, num_gpus=executor.gpus, max_restarts=0)(_Remote)
        self._handle = remote.remote(runner, options)
        self.pending = self._handle.start.remote()

    def give(self, task: Task) -> None:
        self.task, self.group = task, task.group
        self.pending = self._handle.run.remote(task.payload)

    def end(self) -> None:
        self._ray.kill(self._handle)


class _Remote:
    """The object inside the actor; errors are sent as text, so that only a lost actor raises at the driver."""

    def __init__(self, runner: str, options: dict[str, Any]) -> None:
        self._made = runner, options
        self._runner: Any = None

    def start(self) -> dict[str, Any]:
        from sap_core.runs.store import one_line
        from sap_core.sweeps.worker import make_runner

        try:
            self._runner = make_runner(*self._made)
        except Exception as error:
            return {"unusable": one_line(error)}
        return {}

    def run(self, payload: dict[str, Any]) -> dict[str, Any]:
        from sap_core.runs.files import plain
        from sap_core.runs.store import one_line

        try:
            return {"record": plain(self._runner.run(payload))}
        except Exception as error:
            return {"error": one_line(error)}


def _import_ray() -> Any:
    try:
        import ray  # pyright: ignore[reportMissingImports]  an extra
    except ImportError:
        raise InvalidInput("executor 'ray' needs Ray; install it with: pip install 'sap-studio[ray]'.") from None
    return ray


def _cause(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
