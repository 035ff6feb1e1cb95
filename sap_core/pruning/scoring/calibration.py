"""The token sequences on which activation-aware methods measure a model.

The demo corpus (one story per row), or whatever `sap_core.texts` reads: one text per row, or windows of all texts
joined. All errors in them are reported before any model runs. No torch here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import InvalidInput
from ...texts.rows import Encoder, TextSet, source_rows, text_rows
from ...texts.source import TextSource

LONGEST_DEFAULT = 256
# Held-out texts have seeds below those of training; calibration keeps clear of evaluation's, which start at 0.
_DEMO_SEED = 500_000_000
_SEEDS_APART = 100_000
ADVICE = "Give texts the model was made for: --calibration FILE.txt (one text a line)."


@dataclass(frozen=True)
class Calibration:
    """Calibration rows as a rectangle of token ids.

    Attributes:
        tokens: int64 (samples, length).
        valid: bool, the same shape; False where a row is only filled up.
        source: Where they come from.
        maskable: bool, the same shape: what methods that look at partly masked texts may mask; default: all.
        lengths: int64 (samples,): how much of each row the model sees; the same lengths stand together. Default: all of
            it, for the fill of a demo canvas is part of what the model was trained on.
        facts: `TextSet.describe` of texts that were read.
    """

    tokens: np.ndarray
    valid: np.ndarray
    source: str
    maskable: np.ndarray = None  # type: ignore[assignment]  an array once it is made
    lengths: np.ndarray = None  # type: ignore[assignment]  the same
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.maskable is None:
            object.__setattr__(self, "maskable", np.ones(self.tokens.shape, bool))
        if self.lengths is None:
            object.__setattr__(self, "lengths", np.full(len(self.tokens), self.tokens.shape[1]))

    def describe(self) -> dict[str, Any]:
        """Return source, samples, length, sha256 of the ids, and how many were cut, dropped or unknown; JSON-able."""
        digest = hashlib.sha256(np.ascontiguousarray(self.tokens).tobytes()).hexdigest()
        samples, length = self.tokens.shape
        return self.facts | {"source": self.source, "samples": samples, "length": length, "sha256": digest}


def read_calibration(
    source: TextSource,
    *,
    samples: int,
    length: int | None,
    seed: int,
    vocab_size: int,
    max_length: int | None,
    encoder: Encoder | None,
    end_id: int | None = None,
    name: str = "the model",
) -> Calibration:
    """Return the calibration sequences of ``source``.

    Args:
        source: "demo", a file of texts or token ids, or a data set.
        samples: Number of rows. A .npy ignores samples, length and seed: it is used as it is.
        length: Largest number of tokens per row; windows have exactly this length. None: as many as the model accepts,
            at most 256.
        seed: Seed of the choice of rows.
        vocab_size: Ids must be below this.
        max_length: Positions of the model; None: unlimited.
        encoder: The model's tokenizer; None: it has none, then only .npy works.
        end_id: Demo models: the end-of-text id that ends a story and fills its row up; None for any other model.
        name: Name of the model, for messages.

    Raises:
        InvalidInput: missing or empty file, wrong suffix, dtype or shape, ids outside the vocabulary, rows longer than
            the model's positions, a text source for a model without tokenizer, more than 5 % of the tokens unknown to
            the model.
    """
    source.check()
    if length is not None and max_length is not None and length > max_length:
        raise InvalidInput(f"calibration_length is {length} but the model has {max_length} positions; ask for fewer.")
    limit = length or min(LONGEST_DEFAULT, max_length or LONGEST_DEFAULT)
    if source.is_ids:
        limit = max_length
    if not source.is_demo:
        found = source_rows(source, encoder, samples=samples, seed=seed, length=limit, vocab_size=vocab_size)
        return _rectangle(found.check_known(name, ADVICE))
    if encoder is None:
        raise InvalidInput(
            f"calibration '{source.name}' is text but the model has no tokenizer; give a .npy of token ids."
        )
    stories = demo_stories(samples, seed)
    if end_id is None:
        found = text_rows(stories, encoder, source=source.name, length=limit)
        return _rectangle(found.check_known(name, ADVICE))
    return _canvases(
        [encoder.encode(story)[0] for story in stories], limit or LONGEST_DEFAULT, length is not None, end_id
    )


def demo_stories(samples: int, seed: int) -> list[str]:
    """Return stories of the demo corpus from a range of seeds that nothing else uses."""
    from ...stories.corpus import generate

    first = _DEMO_SEED + seed * _SEEDS_APART
    return [generate(first + i).text for i in range(samples)]


def _canvases(rows: list[list[int]], limit: int, exact: bool, end_id: int) -> Calibration:
    """Return one story per row, ended and filled up with ``end_id``: the canvas the demo models were trained on."""
    from ...stories.tokenizer import canvas_length

    rows = [row if row[:limit][-1:] == [end_id] else [*row[:limit], end_id] for row in rows]
    rows = [row[:limit] for row in rows]
    longest = max(map(len, rows))
    # A canvas a little roomier than the longest story, as in training, unless the length was asked for.
    width = limit if exact else min(limit, canvas_length(longest))
    tokens = np.full((len(rows), width), end_id, np.int64)
    valid = np.zeros(tokens.shape, bool)
    for i, row in enumerate(rows):
        tokens[i, : len(row)], valid[i, : len(row)] = row, True
    return Calibration(tokens, valid, "demo")


def _rectangle(found: TextSet) -> Calibration:
    """Return the rows in order of their lengths, padded with zeros that the model never sees."""
    rows = sorted(found.rows, key=lambda row: len(row.tokens))
    lengths = np.array([len(row.tokens) for row in rows])
    shape = len(rows), int(lengths.max())
    tokens, maskable = np.zeros(shape, np.int64), np.zeros(shape, bool)
    for i, row in enumerate(rows):
        tokens[i, : lengths[i]], maskable[i, : lengths[i]] = row.tokens, row.scored
    valid = np.arange(shape[1]) < lengths[:, None]
    return Calibration(tokens, valid, found.source, maskable, lengths, found.describe())
