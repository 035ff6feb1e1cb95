"""Runs one fault after another in forked children of a warm interpreter and judges what came of each.

A child is judged by its exit code, by its error (one line, none of Python's own), by what it left behind, by whether
code of a file ran, and by the time and memory it took.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS, MEGABYTES = 30.0, 1500  # beyond the warm interpreter: a busy machine is slow, a bomb is far larger
PATIENCE = 120.0
RAN = "code-ran"  # the file that code of a hostile file would make


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        name: What is bad, and under which command.
        kind: Row of the table it is counted in.
        prepare: Given an empty working folder, writes the bad input and returns the command's words; a page's case
            returns a function to call instead.
        allowed: Exit codes that are right.
    """

    name: str
    kind: str
    prepare: Callable[[Path], list[Any] | Callable[[], Any]]
    allowed: tuple[int, ...] = (2,)


@dataclass(frozen=True)
class Ended:
    """How a child ended; ``code`` is negative for a signal and None where the time was over."""

    code: int | None
    error: str
    seconds: float
    megabytes: int


def judge(case: Case, home: Path) -> list[str]:
    """What is wrong with how the project took a case; empty where it held."""
    with tempfile.TemporaryDirectory(dir=home) as name:
        folder = Path(name)
        words = case.prepare(folder)
        before = _tree(folder)
        ended = in_child(words if callable(words) else lambda: _command(words), folder)
        after = _tree(folder)
    wrong = []
    lines = [line for line in ended.error.splitlines() if line.strip()]
    if ended.code not in case.allowed:
        wrong.append(f"exit {ended.code}, expected {' or '.join(map(str, case.allowed))}")
    if ended.code in (1, 2) and (len(lines) != 1 or not lines[0].startswith("sap: ")):
        wrong.append(f"{len(lines)} lines of error")
    if "Unexpected" in ended.error or "Traceback" in ended.error:
        wrong.append("a foreign exception")
    if RAN in {path.rpartition("/")[2] for path in after}:
        wrong.append("code of the file ran")
    if ended.code != 0 and after - before:
        wrong.append(f"left behind: {', '.join(sorted(after - before)[:3])}")
    if ended.code == 0 and "out" in after and not {"out/manifest.json", "out/sap_manifest.json"} & after:
        wrong.append("half a result")
    if ended.seconds > SECONDS:
        wrong.append(f"{ended.seconds:.0f} seconds")
    if ended.megabytes > MEGABYTES:
        wrong.append(f"{ended.megabytes} MB")
    return [f"{what}: {' '.join(lines)[:300]}" for what in wrong]


def in_child(work: Callable[[], Any], folder: Path, *, kill_after: float | None = None) -> Ended:
    """Call ``work`` in a forked child whose working folder is ``folder``; what it returns is its exit code."""
    with tempfile.TemporaryFile() as error:
        started = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            _be_child(work, folder, error.fileno())
        until = started + (PATIENCE if kill_after is None else kill_after)
        code = None
        while code is None and time.monotonic() < until:
            ended, status, used = os.wait4(child, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
            else:
                time.sleep(0.005)
        if code is None:
            os.kill(child, signal.SIGKILL)
            _, status, used = os.wait4(child, 0)
            code = os.waitstatus_to_exitcode(status) if kill_after is not None else None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)  # what it started
        error.seek(0)
        text = error.read().decode(errors="replace")
        return Ended(code, text, time.monotonic() - started, used.ru_maxrss >> 10)


def _be_child(work: Callable[[], Any], folder: Path, error: int) -> None:
    code = 99
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        os.dup2(error, 2)
        # What runs this may have put files of its own in the place of the three.
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
        os.chdir(folder)
        os.environ["SAP_RUNS"] = str(folder / "runs")
        code = work()
        code = code if isinstance(code, int) else 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _command(words: list[Any]) -> int:
    from sap_core.cli import main

    return main([str(word) for word in words])


def _tree(folder: Path) -> set[str]:
    found = set()
    for parent, folders, files in os.walk(folder):
        found |= {os.path.relpath(os.path.join(parent, name), folder) for name in (*folders, *files)}
    return found
