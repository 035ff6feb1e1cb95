"""What a command shows: one result on standard output, progress on standard error."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import Cancelled
from ..progress import Progress, ProgressCallback
from ..runs.files import plain

WIDTH = 28  # of the bar, in characters


@contextlib.contextmanager
def work(label: str = "") -> Iterator[ProgressCallback]:
    """A progress callback for long work, inside which nothing else reaches standard output.

    Ctrl-C asks the work to stop at its next step, so that what it has is kept; a second Ctrl-C ends it at once.
    """
    bar = Bar(label)
    asked = False

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    def report(progress: Progress) -> None:
        if asked:
            raise Cancelled("Cancelled.")
        bar.show(progress)

    with contextlib.redirect_stdout(sys.stderr), _on_interrupt(ask), _quiet_libraries():
        try:
            yield report
        finally:
            bar.close()


class Bar:
    """One line that is drawn over on a terminal; one line per stage elsewhere."""

    def __init__(self, label: str = "", stream: Any = None) -> None:
        self.label = label
        self.stream = stream or sys.stderr
        self.terminal = self.stream.isatty()
        self.stage = ""
        self.drawn = self.told = False
        self.begun = 0.0

    def show(self, progress: Progress) -> None:
        name = progress.message or progress.stage
        if progress.stage != self.stage:
            self.close()
            self.stage, self.begun, self.told = progress.stage, time.monotonic(), False
        if not self.terminal:
            if progress.done and not self.told:  # not before its first step: input is still being refused then
                print(" ".join(filter(None, [self.label, name])), file=self.stream)
                self.told = True
            return
        if not progress.total:
            return
        share = min(1.0, progress.done / progress.total)
        line = f"{'█' * round(share * WIDTH):░<{WIDTH}} {progress.done}/{progress.total} {name}"
        spent = time.monotonic() - self.begun
        if 0 < progress.done < progress.total and spent > 1:
            line += f", {spent / progress.done * (progress.total - progress.done):.0f} s left"
        print(f"\r\x1b[K{line[:110]}", end="", file=self.stream, flush=True)
        self.drawn = True

    def close(self) -> None:
        if self.drawn:
            print(file=self.stream)
            self.drawn = False


def emit(document: Any, as_json: bool, show: Callable[[], Iterable[str]]) -> None:
    """Print the result: as one JSON document, or as the lines that ``show`` makes."""
    if as_json:
        print(json.dumps(plain(document), ensure_ascii=False, indent=2, allow_nan=False))
    else:
        for line in show():
            print(line)


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> list[str]:
    """Aligned columns; ``columns``: key in the rows -> heading. Numbers go right, text left."""
    cells = [[cell(row.get(key)) for key in columns] for row in rows]
    heads = list(columns.values())
    right = [bool(rows) and all(isinstance(row.get(key), (int, float, type(None))) for row in rows) for key in columns]
    widths = [max([len(head), *(len(line[i]) for line in cells)]) for i, head in enumerate(heads)]

    def aligned(line: Sequence[str]) -> str:
        parts = (text.rjust(w) if r else text.ljust(w) for text, w, r in zip(line, widths, right, strict=True))
        return "  ".join(parts).rstrip()

    return [aligned(heads), "  ".join("-" * width for width in widths), *map(aligned, cells)]


def cell(value: Any) -> str:
    """Return a value as a table shows it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)


def size(count: float) -> str:
    """Bytes for people: 12.3 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


@contextlib.contextmanager
def _on_interrupt(handler: Callable[[int, Any], None]) -> Iterator[None]:
    try:
        before = signal.signal(signal.SIGINT, handler)
    except ValueError:  # not the main thread: there is no Ctrl-C to mind
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _quiet_libraries() -> Iterator[None]:
    """transformers draws bars of its own while it reads and writes; ours is enough."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
