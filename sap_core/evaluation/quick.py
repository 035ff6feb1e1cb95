"""Dense and pruned side by side within a few seconds: the text of both, the likelihood of both on a few stories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..progress import ProgressCallback, silent
from ..remember import remember
from .likelihood import Losses, text_likelihood
from .texts import TextRow, story_rows
from .writing import write

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel

_TEXTS = 8
_DRAWS = 4
_STEPS = 32


def quick_compare(
    dense: LoadedModel,
    pruned: LoadedModel,
    prompt: str = "once upon a time",
    seed: int = 0,
    *,
    length: int = 128,
    progress: ProgressCallback = silent,
) -> dict[str, Any]:
    """What pruning did, measured small: 8 held-out stories, 4 masks each, one greedy text in at most 32 steps.

    Returns:
        {"prompt", "dense": {"text", "likelihood"}, "pruned": the same, "difference": {"nats_per_token",
        "standard_error"} pruned minus dense on the same masks, "same_tokens": share of equal tokens in the two texts}.
        What was measured on the dense model is remembered.
    """
    length = min(length, dense.info.max_length or length)
    rows = story_rows(
        dense.encode,
        samples=_TEXTS,
        seed=seed,
        diffusion=dense.is_diffusion,
        fill_id=dense.tokenizer.eos_token_id,
        max_length=dense.info.max_length,
    )
    tokens, losses = remember(
        dense.module, ("quick", prompt, seed, length), lambda: _measure(dense, rows, prompt, seed, length, progress)
    )
    new_tokens, new_losses = _measure(pruned, rows, prompt, seed, length, progress)
    shared = min(len(tokens), len(new_tokens))
    agreement = sum(a == b for a, b in zip(tokens, new_tokens)) / shared
    return {
        "prompt": prompt,
        "dense": {"text": dense.decode(tokens), "likelihood": losses.summary()},
        "pruned": {"text": pruned.decode(new_tokens), "likelihood": new_losses.summary()},
        "difference": new_losses.minus(losses),
        "same_tokens": agreement,
    }


def _measure(
    model: LoadedModel, rows: list[TextRow], prompt: str, seed: int, length: int, progress: ProgressCallback
) -> tuple[list[int], Losses]:
    to_write = length - len(model.encode(prompt))
    steps = min(_STEPS, to_write) if model.is_diffusion else None
    tokens = write(model, [prompt], length=length, steps=steps, seed=seed)[0].tolist()
    end = model.tokenizer.eos_token_id
    losses = text_likelihood(model, rows, draws=_DRAWS, seed=seed, progress=progress)
    return tokens[: tokens.index(end, 1)] if end in tokens[1:] else tokens, losses
