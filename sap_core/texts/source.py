"""Text sources: one rule for prompts, calibration, evaluation, validation and sweeps.

`demo` (stories of the demo corpus), FILE.txt (one text per line), FILE.jsonl (one object per line), FILE.npy (rows of
token ids) or dataset:NAME (a Hub id, or a folder that `datasets` reads). No torch here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidInput
from ..untrusted import MIB, check_path, foreign, parse_json, read_bytes, read_npy, read_text
from .dataset import PREFIX, check_dataset, dataset_texts

if TYPE_CHECKING:
    import numpy as np

DEMO = "demo"
COLUMN = "text"
SUFFIXES = (".txt", ".jsonl", ".npy")
EXPECTED = "demo, FILE.txt (one text a line), FILE.jsonl, FILE.npy (int64 token ids) or dataset:NAME"
TEXT_LIMIT, NPY_LIMIT = 64 * MIB, 1024 * MIB


@dataclass(frozen=True)
class TextSource:
    """Where texts come from and how they are read.

    Attributes:
        name: "demo", a path, or "dataset:NAME".
        use: What the texts are for, as messages name it: "calibration", "text", "prompts", "validation".
        columns: The key of a .jsonl's objects, the first of these that is there, or the column of a data set.
        subset: A data set's configuration, where it has some.
        split: Which split of a data set is read.
        join: Make windows out of all texts joined, instead of one row a text.
    """

    name: str
    use: str = "text"
    columns: tuple[str, ...] = (COLUMN,)
    subset: str | None = None
    split: str = "train"
    join: bool = False

    @property
    def is_demo(self) -> bool:
        """Whether the source is the demo corpus."""
        return self.name == DEMO

    @property
    def is_dataset(self) -> bool:
        """Whether the source is a data set."""
        return self.name.startswith(PREFIX)

    @property
    def is_ids(self) -> bool:
        """Whether the source is a file of token ids."""
        return not self.is_dataset and self.name.endswith(".npy")

    def check(self) -> None:
        """Check everything that can be checked without a model.

        Raises:
            InvalidInput: neither "demo" nor a data set nor an existing, non-empty file of a known kind; --join where
                there is nothing to join.
        """
        if self.join and (self.is_demo or self.is_ids):
            raise InvalidInput(f"--join makes windows out of texts, but {self.use} is '{self.name}'; leave it out.")
        if self.is_demo:
            return
        if self.is_dataset:
            check_dataset(self.name, self.use)
            return
        check_path(self.name, f"{self.use} file")
        if self.path.suffix not in SUFFIXES:
            raise InvalidInput(f"{self.use} is '{self.name}'; expected {EXPECTED}.")
        if not read_bytes(self.path, f"{self.use} file", limit=NPY_LIMIT if self.is_ids else TEXT_LIMIT):
            raise InvalidInput(f"{self.use} file '{self.name}' is empty.")

    @property
    def path(self) -> Path:
        """The file of a source that is one."""
        check_path(self.name, f"{self.use} file")
        with foreign(f"{self.use} file '{self.name}' can't be found"):
            return Path(self.name).expanduser()


def iterate_texts(source: TextSource, *, seed: int | None = None, blank: bool = False) -> Iterator[str]:
    """Yield the texts of a file in its order, or those of a data set in an order drawn by ``seed`` (None: its own).

    Args:
        source: The source.
        seed: Seed of the order of a data set.
        blank: Also yield texts of white space only.

    Raises:
        InvalidInput: as `TextSource.check`; not UTF-8, a line without text, a missing key or column.
    """
    source.check()
    if source.is_demo or source.is_ids:
        raise InvalidInput(f"{source.use} is '{source.name}', which holds no texts; expected FILE.txt or FILE.jsonl.")
    if source.is_dataset:
        options = {"subset": source.subset, "split": source.split, "column": source.columns[0]}
        texts = dataset_texts(source.name, seed=seed, **options)
    else:
        texts = _file_texts(source)
    yield from (text for text in texts if blank or text.strip())


def read_texts(source: TextSource) -> list[str]:
    """Return all texts of a file, in its order.

    Raises:
        InvalidInput: as `iterate_texts`; no text at all.
    """
    texts = list(iterate_texts(source))
    if not texts:
        raise InvalidInput(f"{source.use} file '{source.name}' is empty; expected one text a line.")
    return texts


def read_ids(source: TextSource, vocab_size: int, max_length: int | None) -> np.ndarray:
    """Return the token ids of a .npy, int64 (samples, length).

    Raises:
        InvalidInput: not readable, another dtype or shape, ids outside the vocabulary, rows longer than the model
            reads.
    """
    source.check()
    ids = read_npy(source.path, f"{source.use} file", limit=NPY_LIMIT)
    check_ids(ids, f"file '{source.name}'", vocab_size, max_length, use=source.use)
    return ids


def check_ids(
    ids: np.ndarray, where: str, vocab_size: int, max_length: int | None, *, use: str = "calibration"
) -> None:
    """Raise InvalidInput unless ``ids`` are int64 (samples, length) within vocabulary and positions."""
    if ids.dtype != "int64":
        raise InvalidInput(f"{use} {where} holds {ids.dtype}; expected int64 token ids.")
    if ids.ndim != 2:
        raise InvalidInput(f"{use} {where} has shape {ids.shape}; expected (samples, length).")
    if ids.size == 0:
        raise InvalidInput(f"{use} {where} is empty (shape {ids.shape}).")
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= vocab_size:
        raise InvalidInput(
            f"{use} {where} holds ids {low} to {high} but the vocabulary is 0 to {vocab_size - 1}; "
            "tokenize it with this model's tokenizer."
        )
    if max_length is not None and ids.shape[1] > max_length:
        raise InvalidInput(f"{use} {where} has rows of {ids.shape[1]} tokens but the model has {max_length} positions.")


def _file_texts(source: TextSource) -> Iterator[str]:
    path = source.path
    content = read_text(path, f"{source.use} file", limit=TEXT_LIMIT, encoding="utf-8-sig")
    for number, line in enumerate(content.removesuffix("\n").split("\n"), 1):
        if path.suffix == ".txt":
            yield line
        elif line.strip():
            yield _of_json(line, source, number)


def _of_json(line: str, source: TextSource, number: int) -> str:
    """Return the text of one line: a JSON string, or an object's value at the column."""
    where = f"{source.use} file '{source.name}', line {number}"
    record = parse_json(line, where)
    if isinstance(record, str):
        return _whole(record, where)
    known = [name for name in source.columns if isinstance(record, dict) and name in record]
    if not known:
        keys = f"the keys {', '.join(map(str, record))}" if isinstance(record, dict) else type(record).__name__
        raise InvalidInput(f"{where}: holds {keys}, not {' or '.join(source.columns)}; name the key with --column.")
    if not isinstance(record[known[0]], str):
        kind = type(record[known[0]]).__name__
        raise InvalidInput(f"{where}: '{known[0]}' holds {kind}; expected text.")
    return _whole(record[known[0]], where)


def _whole(text: str, where: str) -> str:
    """Return a text, refusing half a surrogate pair: JSON can spell it, and no tokenizer, page or file can hold it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(f"{where}: holds {text[:40]!a}, which is no Unicode text; write it again.") from None
    return text
