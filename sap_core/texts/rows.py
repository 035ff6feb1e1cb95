"""From texts to rows of token ids: what a model sees, which of it is text, and what was cut or dropped. No torch here.

Tokens that a tokenizer adds around a text ([CLS], [SEP], <bos>) and padding are seen, but neither masked nor scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InvalidInput, required
from .source import TextSource, iterate_texts, read_ids, read_texts

#: Above this share of unknown tokens a measurement says nothing of the texts.
MOST_UNKNOWN = 0.05


@dataclass(frozen=True)
class TextRow:
    """One sequence.

    Attributes:
        tokens: int64 [S].
        scored: bool [S], the positions that are masked and predicted.
        counted: The tokens of the text among them, the denominator of nats per token (the end tokens that fill a demo
            canvas are predicted but are no text).
    """

    tokens: np.ndarray
    scored: np.ndarray
    counted: int


@dataclass(frozen=True)
class TextSet:
    """Rows of token ids, and the facts about them that a result states.

    Attributes:
        rows: One a text, or one a window.
        source: Where they come from, in words.
        unit: "texts" or "windows": what errors are over.
        available: How many texts or windows the source has, those not drawn included; None where nobody counted.
        cut: Tokens behind the longest row the model or the setting allows, in the rows that are here.
        dropped: Texts without a token to predict, or the tokens of a last window that is not full.
        unknown: Share of the scored tokens that are the tokenizer's unknown token.
        shown: The start of a text with unknown tokens, and the same as the model reads it.
    """

    rows: list[TextRow]
    source: str
    unit: str = "texts"
    available: int | None = None
    cut: int = 0
    dropped: int = 0
    unknown: float = 0.0
    shown: tuple[str, str] | None = None

    @property
    def tokens(self) -> int:
        """Number of tokens of the text."""
        return sum(row.counted for row in self.rows)

    def describe(self) -> dict[str, Any]:
        """Return the facts that a result states about its texts; JSON-able."""
        return {
            "source": self.source,
            "unit": self.unit,
            self.unit: len(self.rows),
            "available": self.available,
            "tokens": self.tokens,
            "cut": self.cut,
            "dropped": self.dropped,
            "unknown": self.unknown,
        }

    def check_known(self, model: str, advice: str) -> TextSet:
        """Return the set itself, after checking that at most 5 % of its tokens are unknown.

        Args:
            model: Its name, for the message.
            advice: What to do instead, ending in a full stop.

        Raises:
            InvalidInput: more than 5 % of the tokens are unknown to the model's tokenizer.
        """
        if self.unknown > MOST_UNKNOWN:
            text, seen = self.shown or ("", "")
            raise InvalidInput(
                f"{self.unknown:.0%} of the tokens of {self.source} are unknown to the tokenizer of {model} "
                f"('{text}' is read as '{seen}'); at most {MOST_UNKNOWN:.0%} may be. {advice}"
            )
        return self


@dataclass(frozen=True)
class Encoder:
    """A tokenizer with what rows need to know of the model.

    Attributes:
        tokenizer: A transformers tokenizer.
        diffusion: Whether rows are masked and filled in; else each token after the first is predicted.
        mask_id: The mask token, which a text may hold: such a position is seen, but not scored.
        tokenize: Returns (ids, which of them were added around the text); the tokenizer, where it can be stopped.
    """

    tokenizer: Any
    diffusion: bool
    mask_id: int | None = None
    tokenize: Callable[[str], tuple[list[int], list[bool]]] | None = None

    def encode(self, text: str) -> tuple[list[int], list[bool]]:
        """Return (ids, which of them the tokenizer added around the text)."""
        return required(self.tokenize, "the tokenizer")(text)

    def row(self, ids: Sequence[int], special: Sequence[bool]) -> TextRow:
        """Return token ids as a row; ``special``: which of them are not text."""
        tokens = np.asarray(ids, np.int64)
        scored = ~np.asarray(special, bool)
        if self.mask_id is not None:
            scored &= tokens != self.mask_id
        if not self.diffusion:
            scored[:1] = False  # nothing comes before it
        return TextRow(tokens, scored, int(scored.sum()))

    def unknown(self, rows: Sequence[TextRow]) -> float:
        """Return the fraction of scored tokens that are the unknown token; 0 for a tokenizer that knows every byte."""
        unknown, end = self.tokenizer.unk_token_id, self.tokenizer.eos_token_id
        if unknown is None or unknown == end:  # GPT-2's: its end token stands for it, and never occurs for it
            return 0.0
        scored = sum(int(row.scored.sum()) for row in rows)
        return sum(int((row.tokens[row.scored] == unknown).sum()) for row in rows) / max(scored, 1)

    def shown(self, text: str, characters: int = 24) -> tuple[str, str]:
        """Return (the start of a text, the text of its tokens)."""
        start = text[:characters]
        ids, special = self.encode(start)
        token_texts = self.tokenizer.convert_ids_to_tokens([i for i, s in zip(ids, special, strict=True) if not s])
        return start, " ".join(token_texts)[: 4 * characters]


def source_rows(
    source: TextSource,
    encoder: Encoder | None,
    *,
    samples: int,
    seed: int,
    length: int | None,
    vocab_size: int,
    skip: int = 0,
) -> TextSet:
    """Return up to ``samples`` rows of a source, drawn by ``seed``.

    Args:
        source: Anything but "demo".
        encoder: None if the model has no tokenizer; then only a .npy can be read.
        samples: Number of rows; a .npy is used whole.
        seed: Seed of the drawing.
        length: The longest row, in tokens; longer texts are cut, windows have exactly this length.
        vocab_size: Ids of a .npy must be below this.
        skip: So many of the drawn order are skipped, because they are used elsewhere.

    Raises:
        InvalidInput: as `iterate_texts` and `read_ids`; nothing to predict in any text; no tokenizer for texts.
    """
    if source.is_ids:
        ids = read_ids(source, vocab_size, length)[skip:]
        flat = Encoder(None, encoder.diffusion if encoder else True)
        rows = [flat.row(row.tolist(), [False] * len(row)) for row in ids]
        return TextSet(rows, source.name, available=len(ids) + skip)
    if encoder is None:
        raise InvalidInput(
            f"{source.use} '{source.name}' is text but the model has no tokenizer; give a .npy of token ids."
        )
    if source.join:
        return _window_rows(source, encoder, samples=samples, seed=seed, length=length, skip=skip)
    texts, available = _drawn(source, samples=samples, seed=seed, skip=skip)
    return text_rows(texts, encoder, source=source.name, length=length, available=available)


def text_rows(
    texts: Sequence[str],
    encoder: Encoder,
    *,
    source: str,
    length: int | None = None,
    available: int | None = None,
) -> TextSet:
    """Return one row per text, at most ``length`` tokens long.

    Raises:
        InvalidInput: no text has a token to predict.
    """
    rows, cut, dropped, foreign = [], 0, 0, None
    for text in texts:
        ids, special = encoder.encode(text)
        inner = [index for index, flag in enumerate(special) if not flag]
        beyond = max(0, len(ids) - length) if length is not None else 0
        removed = set(inner[len(inner) - beyond :]) if beyond else set()
        kept = [index for index in range(len(ids)) if index not in removed]
        row = encoder.row([ids[i] for i in kept], [special[i] for i in kept])
        if not row.counted:
            dropped += 1
            continue
        rows.append(row)
        cut += beyond
        if foreign is None and encoder.unknown([row]) > MOST_UNKNOWN:
            foreign = text
    if texts and not rows:
        needed = "1 token" if encoder.diffusion else "2 tokens"
        raise InvalidInput(f"no text of {source} has anything to predict; at least {needed} a text are needed.")
    shown = encoder.shown(foreign) if foreign is not None else None
    return TextSet(rows, source, "texts", available, cut, dropped, encoder.unknown(rows), shown)


def _drawn(source: TextSource, *, samples: int, seed: int, skip: int) -> tuple[list[str], int | None]:
    """Return (the texts, how many there are in all); None for a data set, which is not counted."""
    if source.is_dataset:
        result: list[str] = []
        for index, text in enumerate(iterate_texts(source, seed=seed)):
            if index >= skip + samples:
                break
            result.append(text)
        if not result:
            raise InvalidInput(
                f"column '{source.columns[0]}' of data set '{source.name}', split {source.split}, is empty."
            )
        return result[skip:], None
    texts = read_texts(source)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(texts))[skip : skip + samples])
    return [texts[i] for i in chosen], len(texts)


def _window_rows(
    source: TextSource, encoder: Encoder, *, samples: int, seed: int, length: int | None, skip: int
) -> TextSet:
    """Return windows of all texts joined by blank lines (a .txt: as it is), without overlap, each ``length`` long.

    A model that fills in masked tokens sees each window between the special tokens its tokenizer adds around a text. An
    autoregressive one sees the stream as it is encoded, start token first, as in the published evaluations on WikiText.
    Of a data set, only as many texts are read as the windows need.
    """
    lines = source.name.endswith(".txt") and not source.is_dataset
    between = "\n" if lines else "\n\n"
    parts: list[str] = []
    count, needed = 0, (samples + skip) * (length or 1)
    for text in iterate_texts(source, seed=seed if source.use == "calibration" else None, blank=True):
        parts.append(text)
        if source.is_dataset:
            count += len(encoder.encode(text)[0])
            if count >= needed:
                break
    ids, special = encoder.encode(between.join(parts))
    before = [i for i, flag in zip(ids, special, strict=True) if flag]
    opening = _leading(special)
    frame = (before[:opening], before[opening:]) if encoder.diffusion else ([], [])
    if encoder.diffusion:
        ids = [i for i, flag in zip(ids, special, strict=True) if not flag]
        special = [False] * len(ids)
    room = (length or len(ids)) - len(frame[0]) - len(frame[1])
    room = max(1, min(room, len(ids)))
    windows = len(ids) // room
    if not windows or room < 2:
        raise InvalidInput(f"{source.use} '{source.name}' has {len(ids)} tokens; at least 2 are needed.")
    chosen = np.sort(np.random.default_rng(seed).permutation(windows)[skip : skip + samples])
    rows = []
    for window in chosen:
        part = slice(window * room, (window + 1) * room)
        flags = [True] * len(frame[0]) + special[part] + [True] * len(frame[1])
        rows.append(encoder.row([*frame[0], *ids[part], *frame[1]], flags))
    unknown = encoder.unknown(rows)
    shown = encoder.shown(next(text for text in parts if text.strip())) if unknown > MOST_UNKNOWN else None
    dropped = len(ids) - windows * room
    return TextSet(rows, source.name, "windows", windows, 0, dropped, unknown, shown)


def _leading(flags: Sequence[bool]) -> int:
    """Return how many of the first flags are set."""
    return next((index for index, flag in enumerate(flags) if not flag), len(flags))
