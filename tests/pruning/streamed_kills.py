"""Prunes a checkpoint in child processes that are killed (SIGKILL), each later than the one before; the last one ends.

    python streamed_kills.py FOLDER OUT CALIBRATION METHOD

One more child, never killed, writes `whole` beside OUT: a process of the same kind adds in the same order, to the bit.
Prints, as JSON, how every child ended and which blocks of which stage it finished. The children are forks of this
process, which imports the engine once and runs no model itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch

import sap_core as sap
from sap_core.pruning.streamed import tensors, workspace
from sap_core.pruning.streamed.streamed_model import open_streamed

# When the children die: after so many reports of progress, in the middle of the n-th write, or after some seconds.
MOMENTS = {
    "sink": [("reports", 2), ("writes", 7), ("reports", 6), ("writes", 12), ("reports", 8), ("writes", 20),
             ("seconds", 0.1), ("reports", 7)],
    "sparsegpt": [("reports", 2), ("writes", 7), ("reports", 6), ("seconds", 0.1), ("writes", 12), ("reports", 2),
                  ("writes", 3)],
}  # fmt: skip


def main(folder: str, out: str, calibration: str, method: str) -> None:
    torch.set_num_threads(1)
    open_streamed(folder)  # imports, before the forks, what every child would have to
    undisturbed = run_child(None, folder, str(Path(out).with_name("whole")), calibration, method)
    if undisturbed["status"]:
        raise SystemExit("the run that was never killed failed")
    children = [run_child(moment, folder, out, calibration, method) for moment in [*MOMENTS[method], None]]
    print(json.dumps(children))


def run_child(moment: tuple | None, folder: str, out: str, calibration: str, method: str) -> dict:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            work(moment, writer, folder, out, calibration, method)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writer)
    if moment and moment[0] == "seconds":
        time.sleep(moment[1])
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reader) as lines:
        finished = [json.loads(line) for line in lines]
    status = os.waitpid(child, 0)[1]
    return {"moment": moment, "killed": os.WIFSIGNALED(status), "status": status, "finished": finished}


def work(moment: tuple | None, writer: int, folder: str, out: str, calibration: str, method: str) -> None:
    kind, count = moment or ("never", 0)
    left = [count]

    def strike(what: str) -> None:
        left[0] -= kind == what
        if kind == what and left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def report(progress) -> None:
        if progress.done and not progress.message:  # a block is finished
            os.write(writer, json.dumps([progress.stage, progress.done]).encode() + b"\n")
        strike("reports")

    whole = tensors.write_from

    def write_half(file, start, source) -> None:
        if kind == "writes" and left[0] == 1:
            whole(file, start, source.reshape(-1)[: source.numel() // 2])
        else:
            whole(file, start, source)
        strike("writes")

    tensors.write_from = workspace.write_from = write_half
    sap.prune_checkpoint(folder, out, method=method, calibration=calibration, verify=False, progress=report)


if __name__ == "__main__":
    main(*sys.argv[1:])
