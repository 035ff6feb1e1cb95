"""The token sequences on which activation-aware methods look at a model.

Four sources, one result: the demo corpus (one story per row), a text file or a data set (tokens cut into windows), or
a .npy of token ids used exactly as it is. Everything that can be wrong with them is said before any model runs. No
torch here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import InvalidInput
from ...untrusted import MIB, check_path, read_bytes, read_npy, read_text
from .dataset_texts import PREFIX, check_dataset, dataset_ids

DEMO = "demo"
TEXT_LIMIT, NPY_LIMIT = 64 * MIB, 1024 * MIB
LONGEST_DEFAULT = 256
# Held-out texts have seeds below those of training; calibration keeps clear of evaluation's, which start at 0.
_DEMO_SEED = 500_000_000
_SEEDS_APART = 100_000


@dataclass(frozen=True)
class Calibration:
    """``tokens`` int64 (samples, length); ``valid`` bool of the same shape, False where a row is only filled up."""

    tokens: np.ndarray
    valid: np.ndarray
    source: str

    def describe(self) -> dict[str, object]:
        """JSON-able: source, samples, length, sha256 of the ids."""
        digest = hashlib.sha256(np.ascontiguousarray(self.tokens)).hexdigest()
        samples, length = self.tokens.shape
        return {"source": self.source, "samples": samples, "length": length, "sha256": digest}


def read_calibration(
    source: str,
    *,
    samples: int,
    length: int | None,
    seed: int,
    vocab_size: int,
    max_length: int | None,
    encode: Callable[[str], list[int]] | None,
    fill_id: int | None,
    subset: str | None = None,
    split: str = "train",
    column: str = "text",
) -> Calibration:
    """The sequences ``source`` stands for: "demo", FILE.txt, FILE.npy, or "dataset:NAME".

    ``encode`` is the model's tokenizer (None: it has none, then only .npy works); ``fill_id`` its end-of-text id,
    which ends a story and fills its row up. A .npy ignores samples, length and seed: it is used as it is. ``subset``,
    ``split``, ``column``: of a data set.

    Raises:
        InvalidInput: missing or empty file, wrong suffix, dtype or shape, ids outside the vocabulary, rows longer
            than the model's positions, a text source for a model without tokenizer.
    """
    check_source(source)
    if length is not None and max_length is not None and length > max_length:
        raise InvalidInput(f"calibration_length is {length} but the model has {max_length} positions; ask for fewer.")
    if source.endswith(".npy"):
        tokens = _read_ids(Path(source), vocab_size, max_length)
        return Calibration(tokens, np.ones(tokens.shape, bool), source)
    if encode is None:
        raise InvalidInput(f"calibration '{source}' is text but the model has no tokenizer; give a .npy of token ids.")
    limit = length or min(LONGEST_DEFAULT, max_length or LONGEST_DEFAULT)
    if source == DEMO:
        return _story_rows(encode, samples, limit, length is not None, seed, fill_id)
    if source.startswith(PREFIX):
        options = {"subset": subset, "split": split, "column": column}
        ids = dataset_ids(source, encode, tokens=samples * limit, seed=seed, **options)
        return _cut(ids, samples, limit, seed, source)
    return _windows(Path(source), encode, samples, limit, seed)


def check_source(source: str) -> None:
    """What can be said about a calibration source without a model.

    Raises:
        InvalidInput: neither "demo" nor a data set nor an existing, non-empty .txt or .npy file.
    """
    if source == DEMO:
        return
    if source.startswith(PREFIX):
        check_dataset(source)
        return
    check_path(source, "calibration file")
    path = Path(source)
    if path.suffix not in (".txt", ".npy"):
        raise InvalidInput(
            f"calibration is '{source}'; expected demo, a FILE.txt, a FILE.npy of int64 token ids, or dataset:NAME."
        )
    if not read_bytes(path, "calibration file", limit=NPY_LIMIT if path.suffix == ".npy" else TEXT_LIMIT):
        raise InvalidInput(f"calibration file '{source}' is empty.")


def check_ids(ids: np.ndarray, source: str, vocab_size: int, max_length: int | None) -> None:
    """InvalidInput unless ``ids`` are int64 (samples, length), in the vocabulary, not longer than the model reads."""
    if ids.dtype != np.int64:
        raise InvalidInput(f"calibration {source} holds {ids.dtype}; expected int64 token ids.")
    if ids.ndim != 2:
        raise InvalidInput(f"calibration {source} has shape {ids.shape}; expected (samples, length).")
    if ids.size == 0:
        raise InvalidInput(f"calibration {source} is empty (shape {ids.shape}).")
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= vocab_size:
        raise InvalidInput(
            f"calibration {source} holds ids {low} to {high} but the vocabulary is 0 to {vocab_size - 1}; "
            "tokenize it with this model's tokenizer."
        )
    if max_length is not None and ids.shape[1] > max_length:
        raise InvalidInput(
            f"calibration {source} has rows of {ids.shape[1]} tokens but the model has {max_length} positions."
        )


def _read_ids(path: Path, vocab_size: int, max_length: int | None) -> np.ndarray:
    ids = read_npy(path, "calibration file", limit=NPY_LIMIT)
    check_ids(ids, f"file '{path}'", vocab_size, max_length)
    return ids


def _story_rows(
    encode: Callable[[str], list[int]], samples: int, limit: int, exact: bool, seed: int, fill_id: int | None
) -> Calibration:
    """One story per row, ended and filled up with ``fill_id``: the canvas the demo models were trained on."""
    from ...stories.corpus import generate
    from ...stories.tokenizer import canvas_length

    first = _DEMO_SEED + seed * _SEEDS_APART
    rows = [encode(generate(first + i).text)[:limit] for i in range(samples)]
    if fill_id is not None:
        rows = [row if row and row[-1] == fill_id else [*row, fill_id][:limit] for row in rows]
    longest = max(map(len, rows))
    # A canvas a little roomier than the longest story, as in training, unless the length was asked for.
    width = limit if exact else min(limit, canvas_length(longest))
    tokens = np.full((samples, width), fill_id or 0, np.int64)
    valid = np.zeros((samples, width), bool)
    for i, row in enumerate(rows):
        tokens[i, : len(row)], valid[i, : len(row)] = row, True
    return Calibration(tokens, valid, DEMO)


def _windows(path: Path, encode: Callable[[str], list[int]], samples: int, length: int, seed: int) -> Calibration:
    """Up to ``samples`` windows of the file's tokens, without overlap, drawn by ``seed``; a short file is one."""
    text = read_text(path, "calibration file", limit=TEXT_LIMIT)
    ids = np.asarray(encode(text) if text.strip() else [], np.int64)
    if ids.size == 0:
        raise InvalidInput(f"calibration file '{path}' is empty.")
    return _cut(ids, samples, length, seed, str(path))


def _cut(ids: np.ndarray, samples: int, length: int, seed: int, source: str) -> Calibration:
    length = min(length, ids.size)
    windows = ids[: ids.size // length * length].reshape(-1, length)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(windows))[:samples])
    return Calibration(windows[chosen], np.ones((len(chosen), length), bool), source)
