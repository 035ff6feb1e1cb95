"""The texts a likelihood is measured on, as rows of token ids. No torch here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import InvalidInput
from ..stories.tokenizer import CONTEXT, canvas_length
from ..untrusted import MIB, read_text

LIMIT = 64 * MIB  # of a text file

# Seeds of held-out stories: below those of training texts and of calibration texts.
FIRST_STORY = 1_000_000
_SEEDS_APART = 10_000
_LONGEST_WINDOW = 512


@dataclass(frozen=True)
class TextRow:
    """``tokens`` int64 [S]; ``scored`` bool [S]: the positions that are predicted; ``counted``: the tokens of the
    text among them, the denominator of nats per token (the fill of a canvas is predicted but is no text)."""

    tokens: np.ndarray
    scored: np.ndarray
    counted: int


def story_rows(
    encode: Callable[[str], list[int]],
    *,
    samples: int,
    seed: int,
    diffusion: bool,
    fill_id: int | None,
    max_length: int | None,
) -> list[TextRow]:
    """Held-out stories of the demo corpus, one per row, each with its end-of-text token.

    A diffusion model predicts the whole canvas: the story, its end, and the end tokens that fill the canvas up, as in
    training (`canvas_length`). An autoregressive model predicts each token after the first.
    """
    from ..stories.corpus import generate

    first = FIRST_STORY + seed * _SEEDS_APART
    rows = []
    for i in range(samples):
        ids = encode(generate(first + i).text)
        if fill_id is not None and ids[-1] != fill_id:
            ids = [*ids, fill_id]
        rows.append(_row(ids[:max_length], diffusion, fill_id, max_length))
    return rows


def file_rows(
    path: str,
    encode: Callable[[str], list[int]],
    *,
    samples: int,
    seed: int,
    diffusion: bool,
    max_length: int | None,
) -> list[TextRow]:
    """Windows of a text file's tokens without overlap, at most 512 long, ``samples`` of them drawn by ``seed``.

    Raises:
        InvalidInput: the file is missing, empty, or not UTF-8.
    """
    ids = np.asarray(encode(check_text_file(path)), np.int64)
    length = min(_LONGEST_WINDOW, max_length or _LONGEST_WINDOW, len(ids))
    if length < 2:
        raise InvalidInput(f"text file '{path}' has {len(ids)} tokens; at least 2 are needed.")
    windows = ids[: len(ids) // length * length].reshape(-1, length)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(windows))[:samples])
    return [_row(windows[i].tolist(), diffusion, None, None) for i in chosen]


def check_text_file(path: str) -> str:
    """Return a text file's content; InvalidInput unless it is UTF-8 with something in it and of bounded size."""
    text = read_text(path, "text file", limit=LIMIT)
    if not text.strip():
        raise InvalidInput(f"text file '{path}' is empty.")
    return text


def _row(ids: list[int], diffusion: bool, fill_id: int | None, max_length: int | None) -> TextRow:
    """Causal rows are filled up too, so that rows share a few lengths; their fill is neither seen nor scored."""
    length = len(ids)
    width = length
    if fill_id is not None:
        width = min(canvas_length(length), max_length or CONTEXT)
    tokens = np.full(width, fill_id or 0, np.int64)
    tokens[:length] = ids
    place = np.arange(width)
    scored = np.ones(width, bool) if diffusion else (place >= 1) & (place < length)
    return TextRow(tokens, scored, length if diffusion else length - 1)
