"""Prompts from a file, and ready sets of them of different lengths. No torch here."""

from __future__ import annotations

from pathlib import Path

from ..errors import InvalidInput, UnknownOption
from ..untrusted import MIB, check_path, foreign, parse_json, read_text

LIMIT = 16 * MIB  # of a prompts file
MOST = 10_000  # prompts in one

# Each set is one batch: openings of different lengths, so that a metric gets a spread.
PRESETS: dict[str, tuple[str, ...]] = {
    "stories": (
        "once there was a",
        "lily was a little girl who loved her blue kite.",
        "a boy named tom had a red ball and took it everywhere. one day he went to the lake with the ball.",
        "once there was a girl named nora who had a",
    ),
    "english": (
        "The weather",
        "In the last hundred years, cities have",
        "A good experiment changes one thing at a time, because",
        "She opened the letter, read it twice, and then",
    ),
    "questions": (
        "What is the capital of France?",
        "Why does ice float on water?",
        "A train leaves at 3 pm and travels 120 km in 2 hours. How fast is it?",
        "Explain in one sentence what a prime number is.",
    ),
    "code": (
        "def fibonacci(n):",
        "# Read a CSV file and print the mean of every column\nimport csv\n",
        "SELECT name, COUNT(*) FROM orders",
        "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, item):\n",
    ),
}


def preset(name: str) -> tuple[str, ...]:
    """The prompts of a ready set.

    Raises:
        UnknownOption: no such set.
    """
    if name not in PRESETS:
        raise UnknownOption("preset of prompts", name, PRESETS)
    return PRESETS[name]


def read_prompts(path: str | Path) -> tuple[str, ...]:
    """The prompts in a file: a .txt has one per line, blank lines aside; a .jsonl one per line, as a JSON string or an
    object with "prompt", which can hold line breaks.

    Raises:
        InvalidInput: no such file, another suffix, not UTF-8, a line that is none of these, no prompt at all.
    """
    check_path(path, "prompts file")
    with foreign(f"prompts file '{path}' can't be found"):
        path = Path(path).expanduser()
    if path.suffix not in (".txt", ".jsonl"):
        raise InvalidInput(f"prompts file is '{path}'; expected a FILE.txt or a FILE.jsonl.")
    text = read_text(path, "prompts file", limit=LIMIT, encoding="utf-8-sig")
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if path.suffix == ".txt":
        prompts = tuple(line.rstrip("\r") for _, line in lines)
    else:
        prompts = tuple(_of_json(line, f"'{path}', line {number}") for number, line in lines)
    if len(prompts) > MOST:
        raise InvalidInput(f"prompts file '{path}' has {len(prompts)} prompts; at most {MOST} are taken.")
    if not prompts:
        raise InvalidInput(f"prompts file '{path}' has no prompt; expected one per line.")
    return prompts


def _of_json(line: str, where: str) -> str:
    try:
        found = parse_json(line, where)
    except InvalidInput:
        found = None
    found = found.get("prompt") if isinstance(found, dict) else found
    if not isinstance(found, str):
        raise InvalidInput(f'prompts file {where}: expected a JSON string or {{"prompt": "..."}}.')
    return found
