"""Commands killed at random moments: what was there before is whole, what was being made is whole or not there."""

from __future__ import annotations

import random
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fork_runner import Ended, _command, in_child

PRUNE = ["prune", "--model", "model", "--no-verify", "--method"]
COMMANDS: dict[str, list[Any]] = {
    "capture": ["capture", "--model", "model", "--length", 24, "--steps", 12, "--out", "out"],
    "prune": [*PRUNE, "wanda", "--samples", 2, "--out", "out"],
    "streamed": [*PRUNE, "magnitude", "--streamed", "--out", "out"],
    "overwrite": [*PRUNE, "magnitude", "--overwrite", "--out", "before"],
    "streamed overwrite": [*PRUNE, "magnitude", "--streamed", "--overwrite", "--out", "before"],
    "elastic": ["elastic", "--model", "model", "--samples", 2, "--no-verify", "--out", "out"],
    "report": ["report", "good", "--out", "out.html"],
    "archive": ["runs", "export", "good", "out.zip"],
    "import": ["runs", "import", "good.zip"],
    "edit": ["runs", "edit", "other", "--name", "new", "--tags", "a,b"],
    "delete": ["runs", "delete", "other"],
}
TRIES = 6  # how often a moment is drawn again because the command had ended before it


def kills(base: Path, run: Path, home: Path, count: int) -> Iterator[tuple[str, list[str]]]:
    """(name, what is wrong) of ``count`` commands that are killed by SIGKILL while they run."""
    draw = random.Random(7)
    lengths: dict[str, float] = {}
    for number in range(count):
        name = list(COMMANDS)[number % len(COMMANDS)]
        if name not in lengths:
            lengths[name] = _length(name, base, run, home)
        share = draw.uniform(0.02, 1.0)
        for _ in range(TRIES):
            hit, wrong = _killed(name, share * lengths[name], base, run, home)
            if hit or wrong:
                break
            share *= draw.uniform(0.5, 0.9)  # the machine is faster now than it was
        yield (
            f"SIGKILL {number}: {name} at {share:.2f} of its time",
            wrong if hit else wrong or ["it never ran so long"],
        )


def _length(name: str, base: Path, run: Path, home: Path) -> float:
    """Return the seconds that a command takes when nobody kills it."""
    with tempfile.TemporaryDirectory(dir=home) as place:
        folder = Path(place)
        _prepare(folder, base, run)
        ended = in_child(lambda: _command(COMMANDS[name]), folder)
        assert ended.code == 0, ended.error
        return ended.passed


def _prepare(folder: Path, base: Path, run: Path) -> None:
    shutil.copytree(base, folder / "model")
    shutil.copytree(base, folder / "before")
    shutil.copytree(run, folder / "runs" / "good")
    shutil.copytree(run, folder / "runs" / "other")
    shutil.make_archive(str(folder / "good"), "zip", folder / "runs", "good")


def _killed(name: str, after: float, base: Path, run: Path, home: Path) -> tuple[bool, list[str]]:
    """Return whether the kill came in time, and what is wrong."""
    with tempfile.TemporaryDirectory(dir=home) as place:
        folder = Path(place)
        _prepare(folder, base, run)
        sound = _content(folder / "runs" / "good"), _content(folder / "model"), _content(folder / "good.zip")
        ended = in_child(lambda: _command(COMMANDS[name]), folder, kill_after=after)
        wrong = []
        if (_content(folder / "runs" / "good"), _content(folder / "model"), _content(folder / "good.zip")) != sound:
            wrong.append("something else was changed")
        if name == "capture":
            if (folder / "out").exists() and _look(folder, ["runs", "show", "out"]).code not in (0, 2):
                wrong.append("what is left can't be shown")
        elif name == "archive":
            if (folder / "out.zip").exists() and _look(folder, ["runs", "import", "out.zip"]).code != 0:
                wrong.append("the archive is half")
        elif name == "report":
            if (folder / "out.html").exists() and b"</html>" not in (folder / "out.html").read_bytes()[-100:]:
                wrong.append("the report is half")
        elif name in ("import", "edit", "delete"):
            for path in (folder / "runs").glob("[!.]*"):
                if name != "delete" and _look(folder, ["runs", "check", path.name]).code != 0:
                    wrong.append(f"{path.name} is half")
        else:
            target = folder / ("before" if "overwrite" in name else "out")
            if target.exists() and _look(folder, ["models", target]).code != 0:
                wrong.append(f"{target.name} is half")
            if "overwrite" in name and not target.exists() and _look(folder, ["runs", "clean"]).code != 0:
                wrong.append("neither the old nor the new")
        listed = _look(folder, ["runs", "list"])
        if listed.code != 0:
            wrong.append(f"runs list: {listed.error[:200]}")
        return ended.code == -signal.SIGKILL, wrong


def _look(folder: Path, words: list) -> Ended:
    return in_child(lambda: _command(words), folder)


def _content(place: Path) -> dict[str, bytes]:
    paths = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    return {str(path.relative_to(place)): path.read_bytes() for path in paths}
