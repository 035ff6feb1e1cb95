"""Worker process of the local executor: ``python -m sap_core.sweeps.worker``, controlled by lines of JSON.

The first line names the runner ("module:Class") and its options; each further line is a task's payload. Answers are
lines of one of {"progress": ...}, {"record": ...}, {"error": ...}, {"unusable": ...} (the runner can't be made). A
worker ends at once when its input ends, so it never outlives its driver, even one that was killed.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from typing import Any, TextIO

from ..progress import Progress
from ..runs.files import plain
from ..runs.store import one_line

PACE = 0.2  # seconds between progress lines


def main() -> None:
    """Serve tasks until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's business
    # Libraries print; what they print must not end up between the answers.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lines: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    serve(lines.get, channel)


def serve(next_line: Callable[[], dict[str, Any]], channel: TextIO) -> None:
    """Make the runner that the first line names, then answer every payload."""
    first = next_line()
    try:
        runner = make_runner(first["runner"], first["options"])
    except Exception as error:
        _say(channel, {"unusable": one_line(error)})
        return
    while True:
        payload = next_line()
        try:
            answer = {"record": runner.run(payload, _reporter(channel))}
        except Exception as error:
            answer = {"error": one_line(error)}
        _say(channel, answer)


def make_runner(name: str, options: dict[str, Any]) -> Any:
    """Return an instance of the class ``name`` ("module:Class")."""
    module, _, kind = name.partition(":")
    return getattr(import_module(module), kind)(options)


def _listen(lines: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        lines.put(json.loads(line))
    os._exit(0)


def _reporter(channel: TextIO) -> Callable[[Progress], None]:
    last = 0.0

    def report(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= PACE:
            last = time.monotonic()
            _say(channel, {"progress": asdict(progress)})

    return report


def _say(channel: TextIO, message: dict[str, Any]) -> None:
    channel.write(json.dumps(plain(message)) + "\n")
    channel.flush()


if __name__ == "__main__":
    main()
