"""Endless training batches: fresh texts for every step, packed by length, a pure function of (seed, step).

Texts are generated in pools, sorted by length and cut into batches, so that little of a batch is padding. A batch of
the diffusion model is filled up with <eos> to a multiple of 32 and sometimes further: the model learns to end a text
on a canvas of any size from 128 to the context.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from sap_core.stories import grammar
from sap_core.stories.corpus import generate, vocabulary, words
from sap_core.stories.tokenizer import (
    BOS,
    CONTEXT,
    EOS,
    PAD,
    SPECIALS,
)

#: Seeds from here on are training texts; whoever needs held-out texts uses smaller ones.
FIRST_TRAINING_SEED = 1_000_000_000
_POOL_BATCHES = 16
_CANVAS_MULTIPLE, _SHORTEST_CANVAS = 32, 128
#: Share of the diffusion batches on a canvas longer than they need.
_ROOMY = 0.12


@dataclass(frozen=True)
class Batch:
    """tokens (batch, length) int64; text_length per row, without what fills the row up; task_start per row:
    where the answer or the summary begins (= text_length for a story alone)."""

    tokens: np.ndarray
    text_length: np.ndarray
    task_start: np.ndarray


@lru_cache(maxsize=1)
def token_ids() -> dict[str, int]:
    """Word -> id, the same table as the tokenizer's."""
    return {word: i for i, word in enumerate(SPECIALS + vocabulary())}


def batch(step: int, *, size: int, seed: int, causal: bool) -> Batch:
    """The batch of this step. Causal: <bos> text <eos> <pad>...; diffusion: text <eos> <eos>..."""
    pool_index, place = divmod(step, _POOL_BATCHES)
    pool = _pool(pool_index, size, seed)
    order = random.Random(f"order {seed} {pool_index}").sample(range(_POOL_BATCHES), _POOL_BATCHES)
    rows = pool[order[place] * size : (order[place] + 1) * size]
    ids = token_ids()
    lead = 1 if causal else 0
    needed = max(len(text) for text, _ in rows) + lead + 1
    length = needed if causal else _canvas(needed, random.Random(f"canvas {seed} {step}"))
    tokens = np.full((size, length), ids[PAD] if causal else ids[EOS], dtype=np.int64)
    text_length, task_start = np.empty(size, np.int64), np.empty(size, np.int64)
    for i, (text, start) in enumerate(rows):
        tokens[i, lead : lead + len(text)] = text
        tokens[i, lead + len(text)] = ids[EOS]
        text_length[i], task_start[i] = lead + len(text), lead + start
    if causal:
        tokens[:, 0] = ids[BOS]
    return Batch(tokens, text_length, task_start)


@lru_cache(maxsize=2)
def _pool(index: int, size: int, seed: int) -> list[tuple[list[int], int]]:
    """(token ids, start of the answer or summary) of one pool's texts, shortest first."""
    ids = token_ids()
    n = size * _POOL_BATCHES
    first = FIRST_TRAINING_SEED * (seed + 1) + index * n
    pool = []
    for text_seed in range(first, first + n):
        story = generate(text_seed)
        text = [ids[word] for word in words(story.text)]
        tail = len(words(story.answer or story.summary)) if story.task in _TAILED else 0
        pool.append((text, len(text) - tail))
    return sorted(pool, key=lambda row: len(row[0]))


_TAILED = tuple(task for task in grammar.TASKS if task != "story")


def _canvas(needed: int, rng: random.Random) -> int:
    sizes = [n for n in range(_SHORTEST_CANVAS, CONTEXT + 1, _CANVAS_MULTIPLE) if n >= needed]
    return rng.choice(sizes) if rng.random() < _ROOMY else sizes[0]
