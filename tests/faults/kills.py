"""Commands killed at random moments: what was there before is whole, what was being made is whole or not there."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fork_runner import Ended, _command, in_child

COMMANDS = {
    "capture": ["capture", "--model", "model", "--length", 24, "--steps", 12, "--out", "out"],
    "prune": ["prune", "--model", "model", "--method", "wanda", "--samples", 2, "--no-verify", "--out", "out"],
    "streamed": ["prune", "--model", "model", "--method", "magnitude", "--streamed", "--no-verify", "--out", "out"],
    "overwrite": [
        "prune",
        "--model",
        "model",
        "--method",
        "magnitude",
        "--no-verify",
        "--overwrite",
        "--out",
        "before",
    ],
    "elastic": ["elastic", "--model", "model", "--samples", 2, "--no-verify", "--out", "out"],
}
LONGEST = 3.0  # seconds until the kill


def kills(base: Path, run: Path, home: Path, count: int) -> Iterator[tuple[str, list[str]]]:
    """(name, what is wrong) of ``count`` commands that are killed by SIGKILL."""
    draw = random.Random(7)
    for number in range(count):
        name = list(COMMANDS)[number % len(COMMANDS)]
        after = draw.uniform(0.05, LONGEST)
        yield f"SIGKILL {number}: {name} after {after:.2f} s", _killed(name, after, base, run, home)


def _killed(name: str, after: float, base: Path, run: Path, home: Path) -> list[str]:
    with tempfile.TemporaryDirectory(dir=home) as place:
        folder = Path(place)
        shutil.copytree(base, folder / "model")
        shutil.copytree(base, folder / "before")
        shutil.copytree(run, folder / "runs" / "good")
        sound = _content(folder / "runs" / "good"), _content(folder / "model")
        in_child(lambda: _command(COMMANDS[name]), folder, kill_after=after)
        wrong = []
        if (_content(folder / "runs" / "good"), _content(folder / "model")) != sound:
            wrong.append("something else was changed")
        if name == "capture":
            if (folder / "out").exists() and _look(folder, ["runs", "show", "out"]).code not in (0, 2):
                wrong.append("what is left can't be shown")
        else:
            target = folder / ("before" if name == "overwrite" else "out")
            if target.exists() and _look(folder, ["models", target]).code != 0:
                wrong.append(f"{target.name} is half")
            if name == "overwrite" and not target.exists() and not _look(folder, ["runs", "clean"]).code == 0:
                wrong.append("neither the old nor the new")
        listed = _look(folder, ["runs", "list"])
        if listed.code != 0:
            wrong.append(f"runs list: {listed.error[:200]}")
        return wrong


def _look(folder: Path, words: list) -> Ended:
    return in_child(lambda: _command(words), folder)


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
