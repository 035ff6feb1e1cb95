"""Prompts from a file, and named sets of prompts of different lengths. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidInput, UnknownOption
from ..texts.source import COLUMN, TextSource, read_texts

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel

MOST = 10_000  # prompts in a file

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

# What a set is made of, for a choice: its language decides whether a model can read it.
TITLES = {
    "stories": "stories (English in lower case, as the demo models read it)",
    "english": "openings (English)",
    "questions": "questions (English)",
    "code": "code (Python and SQL)",
}


def preset(name: str) -> tuple[str, ...]:
    """Return the prompts of a named set.

    Raises:
        UnknownOption: no such set.
    """
    if name not in PRESETS:
        raise UnknownOption("preset of prompts", name, PRESETS)
    return PRESETS[name]


def read_prompts(path: str | Path, column: str | None = None) -> tuple[str, ...]:
    """Return the prompts in a file.

    A .txt has one per line, without blank lines; a .jsonl one per line, as a JSON string or an object, which can
    contain line breaks.

    Args:
        path: The file.
        column: The key of a .jsonl's objects; default "prompt", or "text" if there is none.

    Raises:
        InvalidInput: no such file, another suffix, not UTF-8, a line that is none of these, no prompt at all.
    """
    columns = (column,) if column is not None else ("prompt", COLUMN)
    source = TextSource(str(path), "prompts", columns=columns)
    if source.path.suffix not in (".txt", ".jsonl"):
        raise InvalidInput(f"prompts file is '{path}'; expected a FILE.txt or a FILE.jsonl.")
    prompts = tuple(read_texts(source))
    if len(prompts) > MOST:
        raise InvalidInput(f"prompts file '{path}' has {len(prompts)} prompts; at most {MOST} are taken.")
    return prompts


def unknown_prompts(model: LoadedModel, prompts: Sequence[str]) -> str | None:
    """Return a warning that shows what the model reads of a prompt without a known token; None if all have one.

    Args:
        model: A loaded model; without a tokenizer, or one that knows every byte, there is nothing to warn of.
        prompts: The texts as they are put to it.
    """
    unknown = getattr(model.tokenizer, "unk_token_id", None)
    if unknown is None or unknown == model.tokenizer.eos_token_id:
        return None
    read = [model.encode(prompt, special=False) for prompt in prompts]
    lost = [(text, ids) for text, ids in zip(prompts, read, strict=True) if ids and set(ids) == {unknown}]
    if not lost:
        return None
    text, ids = lost[0]
    shown = " ".join(model.tokenizer.convert_ids_to_tokens(ids[:12])) + (" ..." if len(ids) > 12 else "")
    which = "the prompt" if len(prompts) == 1 else f"{len(lost)} of {len(prompts)} prompts"
    return (
        f"{which} holds no token that {model.info.ref} knows: it reads '{text[:40]}' as {shown}. Give a prompt in the "
        "language and spelling of its training texts, or an empty one."
    )
