"""Run code on untrusted content in a separate process with limits on time and memory.

A chat template can loop for ever, and a tokenizer's rules can take exponential time, fill the memory, or end the
process from inside a library. In a separate process that costs one error message. The script it runs is a file with
``answer(request) -> dict``; requests and answers are JSON, one per line.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from .byte_size import format_bytes
from .errors import InvalidInput, required
from .untrusted import MIB, shown

MEMORY = 2048 * MIB  # of address space
LONGEST_ANSWER = 64 * MIB
# A busy machine gives a process less than a whole core: so many seconds may pass for one second of computing.
_PATIENCE = 10
_START = 20.0  # seconds that starting Python may take
_CHILD = Path(__file__).with_name("confined_child.py")


class Confined:
    """A process that answers requests. It starts with the first request, and again after it was stopped.

    Args:
        script: Python file with ``answer(request) -> dict``. Only the standard library and installed packages are on
            its path.
        what: Names the content in an error: "The chat template of NAME".
        memory: Bytes of address space.
        setup: Sent once after each start, before the first request.
    """

    def __init__(self, script: Path, what: str, *, memory: int = MEMORY, setup: dict[str, Any] | None = None) -> None:
        self._script, self._what, self._memory, self._setup = script, what, memory, setup
        self._process: subprocess.Popen | None = None
        self._lock = threading.Lock()

    def ask(self, request: dict[str, Any], *, seconds: float) -> dict[str, Any]:
        """Send a request and return the script's answer.

        Args:
            request: JSON-able.
            seconds: Computing time it may take.

        Raises:
            InvalidInput: it took longer, needed more memory, ended, or raised; the message says which.
        """
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start(seconds)
            answer = self._exchange(request, seconds)
        if "error" in answer:
            raise InvalidInput(f"{self._what} can't be used ({answer['error']}).")
        return answer

    def close(self) -> None:
        """End the process; the next `ask` starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()

    def __del__(self) -> None:
        self.close()

    def _start(self, seconds: float) -> None:
        self.close()
        environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "MALLOC_ARENA_MAX": "1", "RUST_BACKTRACE": "0"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_CHILD), str(self._script), str(self._memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a Rust library prints pages when it panics
            env=environment,
            start_new_session=True,
        )
        if self._setup is not None:
            answer = self._exchange(self._setup, seconds)
            if "error" in answer:
                self.close()
                raise InvalidInput(f"{self._what} can't be used ({answer['error']}).")

    def _exchange(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        process = required(self._process, "the process")
        line = json.dumps({"seconds": seconds, "request": request}).encode() + b"\n"
        # In a thread: a process that does not read would block the write for ever.
        writer = threading.Thread(target=_write, args=(process.stdin, line), daemon=True)
        writer.start()
        answer = _read_line(process, time.monotonic() + _START + _PATIENCE * seconds)
        if answer is None:
            reason = self._reason(seconds)
            self.close()
            raise InvalidInput(f"{self._what} {reason}; it was stopped.")
        writer.join()
        return answer

    def _reason(self, seconds: float) -> str:
        try:
            code = required(self._process, "the process").wait(1)
        except subprocess.TimeoutExpired:
            return f"was not done after {seconds:g} seconds of computing"
        if code == -getattr(signal, "SIGXCPU", 0):
            return f"was not done after {seconds:g} seconds of computing"
        if code in (-signal.SIGABRT, -signal.SIGKILL):
            return f"needs more than {format_bytes(self._memory)} of memory"
        return f"ended the process that read it (exit {shown(code)})"


def _write(stream: Any, line: bytes) -> None:
    try:
        stream.write(line)
        stream.flush()
    except (OSError, ValueError):
        return  # the process ended; the reader says why


def _read_line(process: subprocess.Popen, until: float) -> dict[str, Any] | None:
    """Return one answer; None if the process ended, the time limit passed, or the answer is too long."""
    content = bytearray()
    with selectors.DefaultSelector() as selector:
        stream = required(process.stdout, "the process' output")
        selector.register(stream, selectors.EVENT_READ)
        while len(content) <= LONGEST_ANSWER:
            left = until - time.monotonic()
            if left <= 0 or not selector.select(left):
                return None
            part = os.read(stream.fileno(), 1 << 16)
            if not part:
                return None
            content += part
            if content.endswith(b"\n"):
                return json.loads(content)
    return None
