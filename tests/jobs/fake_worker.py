"""A real worker process around work that is only pretended: what it does is written in the prompt of the spec."""

from __future__ import annotations

import os
import signal
import sys
import time

from sap_core.errors import InvalidInput
from sap_core.jobs import worker
from sap_core.jobs.worker import serve
from sap_core.progress import Progress
from sap_core.runs.store import create_run


def pretend(spec, out, progress):
    if spec.kind in ("sweep", "prune"):
        return pretend_sweep(spec, out, progress)
    task = spec.prompts[0]
    if task == "refuse":
        raise InvalidInput("steps is 900; expected at most 64.")
    with create_run("capture", spec, out=out) as run:
        if task == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if task == "exit":
            print("the engine gave up", file=sys.stderr, flush=True)
            os._exit(7)
        if task == "raise":
            raise ValueError("matrix is\nsingular")
        if task == "memory":
            raise MemoryError
        if task == "deaf":
            progress(Progress("denoising", 1, spec.steps, "a step"))
            time.sleep(600)
        for step in range(spec.steps):
            time.sleep(0.01)
            progress(Progress("denoising", step + 1, spec.steps, "a step", {"text": f"word {step}"}))
        run.finish({"text": task})
    return run.path


def pretend_sweep(spec, out, progress):
    """As many cells as there are seeds, or candidates as samples; each notes when it began and ended."""
    cells = len(spec.seeds) if spec.kind == "sweep" else spec.samples
    with create_run(spec.kind, spec, out=out) as run:
        for cell in range(cells):
            begun = time.time()
            time.sleep(0.2)
            run.write_json(f"cell-{cell}.json", [begun, time.time()])
            progress(Progress("sweep", cell + 1, cells, "a cell"))
        run.finish({})
    return run.path


def start():
    worker.GRACE = float(os.environ.get("FAKE_GRACE", worker.GRACE))
    if os.environ.get("FAKE_BROKEN"):
        raise ImportError("no engine here")
    return pretend


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1], start, *sys.argv[2:]))
