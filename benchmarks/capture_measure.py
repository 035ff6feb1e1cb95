"""Time and peak memory of the passes of `capture_passes`; run as a script, the child that `child` starts."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from capture_passes import Setting, build, passes, way_of_reducing


def child(what: str, setting: Setting, **more: Any) -> Any:
    """One measurement in a fresh process, so that no other leaves memory or warm caches behind."""
    command = [sys.executable, "-W", "ignore", __file__, json.dumps({"what": what, "setting": asdict(setting), **more})]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])
    return json.loads(done.stdout.splitlines()[-1])


def cpu_time(setting: Setting) -> dict[str, Any]:
    """Seconds of each way in each round, interleaved; the first round warms up and is not counted.

    The process's own CPU time, which other work on the machine disturbs least.
    """
    ways = passes(build(setting), setting)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    error = None
    for number in range(setting.rounds + 1):
        for way, run in ways.items():
            begun = time.process_time()
            result = run()
            if number:
                seconds[way].append(time.process_time() - begun)
            error = result if way == "checked" else error
    return {"seconds": seconds, "error": error}


def cpu_memory(setting: Setting, way: str) -> int:
    """Bytes that one pass adds at its peak, in a process that has run nothing else."""
    run = passes(build(setting), setting)[way]
    before = _reset_peak()
    run()
    return _peak_bytes() - before


def on_gpu(setting: Setting, cells: list[list[int]]) -> dict[str, Any]:
    """Every (length, batch) of ``cells``: seconds and peak bytes of each way in each round, interleaved; a way that
    runs out of memory is left out from then on."""
    import torch

    model = build(replace(setting, length=max(length for length, _ in cells)))
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "reduced": way_of_reducing(model, setting),
        "weights": sum(weight.nbytes for weight in model.parameters()),
        "cells": [],
    }
    for length, batch in cells:
        cell: dict[str, Any] = {"seconds": {}, "peaks": {}, "error": None}
        ways = passes(model, replace(setting, length=length, batch=batch))
        for number in range(setting.rounds + 1):
            for way, run in list(ways.items()):
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
                torch.cuda.synchronize()
                begun = time.perf_counter()
                try:
                    result = run()
                    torch.cuda.synchronize()
                except torch.cuda.OutOfMemoryError:
                    del ways[way]
                    cell["seconds"].pop(way, None)
                    continue
                spent = time.perf_counter() - begun
                cell["error"] = result if way == "checked" else cell["error"]
                if number:
                    cell["seconds"].setdefault(way, []).append(spent)
                    cell["peaks"][way] = max(cell["peaks"].get(way, 0), torch.cuda.max_memory_allocated())
        found["cells"].append(cell)
    return found


def _reset_peak() -> int:
    """Resident bytes now, with the high-water mark set back to them where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _peak_bytes()
    return _status_bytes("VmRSS")


def _peak_bytes() -> int:
    try:
        return _status_bytes("VmHWM")
    except OSError:  # no /proc: macOS counts in bytes, others in KiB
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _status_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    measure = {"cpu_time": cpu_time, "cpu_memory": cpu_memory, "on_gpu": on_gpu}[asked.pop("what")]
    print(json.dumps(measure(Setting(**asked.pop("setting")), **asked)))
