"""Signals that end a command as a cancel does: at its next step, so that what it has is kept."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C; timeout, docker stop, Slurm; a terminal that was closed
PATIENCE = 5.0  # seconds the present step gets to end; schedulers kill after ten or thirty


class StopRequest:
    """Whether a signal asked to stop. ``number`` is its number, 0 while none came.

    Long work looks at it between two steps (`at_work`). A step that takes longer than `PATIENCE`, and a second signal,
    are interrupted where they are (KeyboardInterrupt), and so is everything that is no long work.
    """

    def __init__(self) -> None:
        self.number = 0
        self._working = 0

    @property
    def name(self) -> str:
        """The signal's name; "" while none came."""
        return signal.Signals(self.number).name if self.number else ""

    @property
    def exit_status(self) -> int:
        """128 + the signal's number, as shells have it: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.number

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals while open; those that the parent had ignored (``nohup``, ``&``) stay ignored."""
        self.number = 0
        before: dict[int, Any] = {}
        try:
            for name in NAMES:
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                    before[number] = signal.signal(number, self._ask)
            if hasattr(signal, "SIGALRM"):
                before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._late)
        except ValueError:  # not the main thread, which alone gets signals
            pass
        try:
            yield
        finally:
            self._no_alarm()
            self.number = 0
            for number, handler in before.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Long work that looks at ``number`` between two steps."""
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1
            self._no_alarm()

    def _ask(self, number: int, _: Any) -> None:
        again, self.number = self.number, number
        if again or not self._working:
            raise KeyboardInterrupt
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, PATIENCE)

    def _late(self, *_: Any) -> None:
        if self.number and self._working:
            raise KeyboardInterrupt

    def _no_alarm(self) -> None:
        if hasattr(signal, "setitimer") and self.number:
            signal.setitimer(signal.ITIMER_REAL, 0)


STOP = StopRequest()
