"""Runners that stand in for a model: they write down what they begin, and fail in chosen ways."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from sap_core.progress import Progress


class Runner:
    """``options``: log (file to note begun cells in), seconds (per cell), kills (ids that kill the worker: always, or
    only the first time where a file of that name can be made beside the log), raises (ids)."""

    def __init__(self, options: dict[str, Any]) -> None:
        if options.get("unusable"):
            raise ValueError("no such model")
        self.options = options

    def run(self, cell: dict[str, Any], progress=lambda _: None) -> dict[str, Any]:
        log = Path(self.options["log"])
        with open(log, "a") as file:
            file.write(f"{cell['id']}\n")
        print("libraries print, and it must do no harm")
        progress(Progress("prune", 1, 2))
        time.sleep(self.options.get("seconds", 0))
        how = self.options.get("kills", {}).get(cell["id"])
        if how == "always" or (how == "once" and not (log.parent / f"killed-{cell['id']}").exists()):
            (log.parent / f"killed-{cell['id']}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if cell["id"] in self.options.get("raises", ()):
            raise ValueError("this one\ncan't be")
        return record(cell["id"], cell["spec"])


def record(
    cell: str, spec: dict[str, Any] | None, nats: tuple[float, ...] = (8.0, 12.0), **quality: Any
) -> dict[str, Any]:
    """A record as a real cell makes it."""
    size = {"parameters": 100, "nonzero_parameters": 100 - round(50 * (spec or {}).get("sparsity", 0)), "bytes": 400}
    return {
        "id": cell,
        "spec": spec,
        "pruning": {"sparsity": spec["sparsity"]} if spec else {},
        "quality": {"nats": list(nats), "counted": [4, 4], "kind": "bound", "tasks": None} | size | quality,
        "seconds": 0.1,
    }


class Quiet:
    """Finishes every cell at once; takes any options."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.seed_of_dense = options["evaluation_seed"]

    def run(self, cell: dict[str, Any], progress=lambda _: None) -> dict[str, Any]:
        spec = cell["spec"]
        return record(cell["id"], spec, (8.0, 12.0 + (10 * spec["sparsity"] + spec["seed"] if spec else 0)))
