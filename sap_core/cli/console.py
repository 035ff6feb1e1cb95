"""Output of commands: one result on standard output, progress on standard error."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled
from ..progress import Progress, ProgressCallback
from ..runs.files import plain
from ..visible_text import visible, visible_json
from .signals import STOP

if TYPE_CHECKING:
    from ..runs.reading import Run

WIDTH = 28  # of the bar, in characters


@contextlib.contextmanager
def work(
    label: str = "", kept: Callable[[], str] = lambda: "nothing was written; run the same command again"
) -> Iterator[ProgressCallback]:
    """Yield a progress callback for long work; nothing else reaches standard output meanwhile.

    SIGINT (Ctrl-C), SIGTERM and SIGHUP ask the work to stop at its next step, so that what it has is kept; a second
    signal, or a step of more than some seconds, ends it where it is. ``kept`` then says what is kept and how to go on.
    """
    bar = Bar(label)

    def report(progress: Progress) -> None:
        if STOP.number:
            raise Cancelled("Cancelled.")
        bar.show(progress)

    with contextlib.redirect_stdout(sys.stderr), STOP.at_work(), _quiet_libraries():
        try:
            yield report
        except (Cancelled, KeyboardInterrupt):
            if not STOP.number:
                raise
            raise Cancelled(f"Stopped by {STOP.name}; {kept()}.") from None
        finally:
            bar.close()


class VisibleStream:
    """A standard stream on which no text of a file, a model or a library can control the terminal.

    All that a command prints goes through here, whoever prints it; only `Bar` draws with control characters, by
    ``control``.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text with its control characters spelled out."""
        self._stream.write(visible(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts as `write` does."""
        for line in lines:
            self.write(line)

    def control(self, text: str) -> None:
        """Write a text with control characters of this program's own."""
        self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Bar:
    """A progress bar: one line that is redrawn on a terminal, one line per stage elsewhere."""

    def __init__(self, label: str = "", stream: Any = None) -> None:
        self.label = label
        self.stream = stream or sys.stderr
        self.terminal = self.stream.isatty()
        self.stage = ""
        self.drawn = self.told = False
        self.begun = 0.0

    def show(self, progress: Progress) -> None:
        """Draw a report; an error in writing to standard error is ignored, so that the work continues."""
        with contextlib.suppress(OSError):
            self._show(progress)

    def _show(self, progress: Progress) -> None:
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
        getattr(self.stream, "control", self.stream.write)(f"\r\x1b[K{visible(line)[:110]}")
        self.stream.flush()
        self.drawn = True

    def close(self) -> None:
        """End the line of the bar."""
        if self.drawn:
            with contextlib.suppress(OSError):
                print(file=self.stream)
            self.drawn = False


def emit(document: Any, as_json: bool, show: Callable[[], Iterable[str]]) -> None:
    """Print a result as one JSON document, or as the lines that ``show`` returns."""
    if as_json:
        print(visible_json(json.dumps(plain(document), ensure_ascii=False, indent=2, allow_nan=False)))
    else:
        for line in show():
            print(line)


def told_partial(runs: Iterable[Run]) -> Iterator[str]:
    """Yield a line for each run that is not finished: of how many of its steps the numbers are."""
    for run in runs:
        if run.partial:
            yield f"{run.id} is {run.state}: {run.partial}"


def warn_partial(runs: Iterable[Run]) -> None:
    """Say the same on standard error."""
    for line in told_partial(runs):
        print(f"sap: {line}", file=sys.stderr)


def table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> list[str]:
    """Return the lines of a table with aligned columns, numbers to the right.

    ``columns``: key in the rows -> heading.
    """
    cells = [[cell(row.get(key)) for key in columns] for row in rows]
    heads = list(columns.values())
    right = [bool(rows) and all(isinstance(row.get(key), (int, float, type(None))) for row in rows) for key in columns]
    widths = [max([len(head), *(len(line[i]) for line in cells)]) for i, head in enumerate(heads)]

    def aligned(line: Sequence[str]) -> str:
        parts = (text.rjust(w) if r else text.ljust(w) for text, w, r in zip(line, widths, right, strict=True))
        return "  ".join(parts).rstrip()

    return [aligned(heads), "  ".join("-" * width for width in widths), *map(aligned, cells)]


def cell(value: Any) -> str:
    """Return a value formatted for a table."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)


@contextlib.contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Turn off the progress bars of transformers while the context lasts."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
