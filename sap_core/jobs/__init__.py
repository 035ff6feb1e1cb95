"""Long work outside the web server: a queue of specs on disk, one worker process that keeps its models warm.

    <root>/.jobs/
        <job id>/job.json        the spec and the run folder it will fill
        <job id>/state.json      queued, running, finished, failed or cancelled, with times and the error
        <job id>/progress.json   the last report
        <job id>/cancel          there once somebody asked to stop
        <job id>/log.txt         the traceback of a failure
        queue/<job id>           who removes it owns the job: the worker to run it, a client to cancel it
        clients/<pid>.json       processes that want the worker; it ends when none of them lives
        worker.lock              locked for as long as the worker lives, however it ends
        worker.json              its process id, once it is ready
        worker.log               what the worker and its libraries print

`JobClient` submits, watches and cancels without importing torch; `worker` is the process; `execute` turns a spec into
a run.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PLACES = {"JobClient": "client", "JobStatus": "layout"}

__all__ = sorted(_PLACES)


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_PLACES[name]}", __name__), name)
