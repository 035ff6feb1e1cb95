"""Greedy texts of models: how varied they are, and how far two models agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..sinks.intervals import ratio_interval
from .generation import generate
from .texts import TextRow

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel

_PROMPT = 8  # tokens of a text that are given
_LENGTH, _STEPS = 128, 32
_GRAMS = (1, 2, 3)


def continuations(model: LoadedModel, rows: Sequence[TextRow]) -> list[list[int]]:
    """Return the tokens ``model`` writes greedily behind the first 8 tokens of every text, up to its end token."""
    end = model.tokenizer.eos_token_id
    prompts = [model.decode(row.tokens[:_PROMPT].tolist()) for row in rows]
    longest = max(len(model.encode(prompt)) for prompt in prompts)
    length = max(longest + 1, min(_LENGTH, model.info.max_length or _LENGTH))
    steps = min(_STEPS, length - longest) if model.is_diffusion else None
    written = generate(model, prompts, length=length, steps=steps)
    return [written.row(index, end) for index in range(len(prompts))]


def variety(texts: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return the number of different n-grams over that of all n-grams of all texts (Li et al., arXiv 1510.03055).

    {"texts", "tokens", "distinct_1", "distinct_2", "distinct_3"}; None if there is no n-gram.
    """
    result: dict[str, Any] = {"texts": len(texts), "tokens": sum(map(len, texts))}
    for n in _GRAMS:
        grams = [tuple(text[i : i + n]) for text in texts for i in range(len(text) - n + 1)]
        result[f"distinct_{n}"] = len(set(grams)) / len(grams) if grams else None
    return result


def agreement(mine: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return how far two models wrote the same.

    {"same_tokens": positions at which both wrote the same token, over the positions of the longer text, with its 95 %
    interval over texts, "low" and "high" (None for one text); "same_texts": fraction of texts that are equal; "texts"}.
    """
    pairs = list(zip(mine, theirs, strict=True))
    positions = np.array([max(len(a), len(b)) for a, b in pairs], np.float64)
    equal = np.array([sum(x == y for x, y in zip(a, b, strict=False)) for a, b in pairs], np.float64)
    result = {
        "same_tokens": float(equal.sum() / positions.sum()) if positions.sum() else 1.0,
        "low": None,
        "high": None,
        "same_texts": sum(list(a) == list(b) for a, b in pairs) / max(len(pairs), 1),
        "texts": len(pairs),
    }
    if len(pairs) > 1 and positions.all():
        found = ratio_interval(equal, positions).named("same_tokens")
        result |= {"low": max(0.0, found["low"]), "high": min(1.0, found["high"])}
    return result
