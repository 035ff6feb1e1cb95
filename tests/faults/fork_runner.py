"""Runs one fault after another in forked children of a warm interpreter and judges what came of each.

A child is judged by its exit code, by its error (one line, none of Python's own), by what it left behind, by whether
code of a file ran, and by the time and memory it took. Memory is the peak of the child or of any process it waited for.
Time is both what was computed, by the child and by all it waited for, and what passed on the clock, without the time
in which its threads, or those of its own children, were ready and other processes had the processor. A case that is
late by the clock alone is tried again.
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

SECONDS, MEGABYTES = 2.0, 1024  # beyond the start of the interpreter; memory with the interpreter and its libraries
WORK = 30.0  # seconds for a command that took its input and did all the work asked
AGAIN = 3  # how often a case is tried that is late by the clock alone
PATIENCE = 120.0
WORKING = ("capture", "prune", "elastic", "evaluate")
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
    """How a child ended; ``code`` is negative for a signal and None where the time was over.

    Attributes:
        passed: Seconds on the clock.
        seconds: The same, less what the child waited for a processor.
        computed: Seconds of processor time of the child and of every process it waited for.
        megabytes: Peak of resident memory of the largest of them.
    """

    code: int | None
    error: str
    passed: float
    seconds: float
    computed: float
    megabytes: int


def judge(case: Case, home: Path) -> list[str]:
    """What is wrong with how the project took a case; empty where it held."""
    for left in reversed(range(AGAIN)):
        wrong, late = _judge_once(case, home)
        if not late or wrong or not left:
            break
    return wrong + late


def _judge_once(case: Case, home: Path) -> tuple[list[str], list[str]]:
    """What is wrong, and what is late by the clock alone."""
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
    limit = WORK if ended.code == 0 and not callable(words) and words[0] in WORKING else SECONDS
    if ended.computed > limit:
        wrong.append(f"{ended.computed:.1f} seconds of computing")
    if ended.megabytes > MEGABYTES:
        wrong.append(f"{ended.megabytes} MB")
    late = [f"{ended.seconds:.1f} seconds"] if ended.seconds > limit else []
    told = " ".join(lines)[:300]
    return [f"{what}: {told}" for what in wrong], [f"{what}: {told}" for what in late]


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
        over, waited = False, {}
        while time.monotonic() < until:
            if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                break
            _note_waiting(child, waited)
            time.sleep(0.02)
        else:
            over = True
            os.kill(child, signal.SIGKILL)
            os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        passed = time.monotonic() - started
        _note_waiting(child, waited)
        seconds = passed - sum(waited.values())
        _, status, used = os.wait4(child, 0)
        code = None if over and kill_after is None else os.waitstatus_to_exitcode(status)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)  # what it started
        error.seek(0)
        text = error.read().decode(errors="replace")
        computed = used.ru_utime + used.ru_stime
        return Ended(code, text, passed, seconds, computed, _megabytes(used.ru_maxrss))


def _note_waiting(process: int, waited: dict[str, float]) -> None:
    """Note the seconds in which each thread was ready and had no processor (Documentation/scheduler/sched-stats)."""
    with contextlib.suppress(OSError, IndexError, ValueError):  # it ended just now; not Linux; a kernel that counts not
        for thread in os.listdir(f"/proc/{process}/task"):
            place = f"/proc/{process}/task/{thread}"
            waited[thread] = int(Path(place, "schedstat").read_text().split()[1]) / 1e9
            for child in Path(place, "children").read_text().split():
                _note_waiting(int(child), waited)


def _megabytes(peak: int) -> int:
    """A peak as getrusage(2) gives it: in kilobytes, on macOS in bytes."""
    return peak >> (20 if sys.platform == "darwin" else 10)


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
