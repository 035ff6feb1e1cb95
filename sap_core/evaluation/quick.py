"""Dense and pruned side by side within a few seconds: the text of both, the likelihood of both on a few stories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput
from ..memoize import memoize
from ..progress import ProgressCallback, silent
from .generation import STORY_BLOCK, generate
from .likelihood import Losses, text_likelihood
from .texts import TextRow, story_rows

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel

_TEXTS = 8
_DRAWS = 4
_STEPS = 64


def quick_compare(
    dense: LoadedModel,
    pruned: LoadedModel,
    prompt: str = "once there was a",
    seed: int = 0,
    *,
    length: int = 128,
    progress: ProgressCallback = silent,
) -> dict[str, Any]:
    """What pruning did, measured small: 8 held-out stories, 4 masks each, one greedy text in at most 64 steps,
    in blocks of 32 tokens.

    Returns:
        {"prompt", "dense": {"text", "likelihood"}, "pruned": the same, "difference": {"nats_per_token",
        "standard_error"} pruned minus dense on the same masks, "same_tokens": share of places at which both wrote
        the same token}. What was measured on the dense model is remembered.

    Raises:
        InvalidInput: a prompt longer than the length; a model without tokenizer.
    """
    if dense.tokenizer is None:
        raise InvalidInput(f"{dense.info.ref} has no tokenizer, so it can't be put a text; save one beside the model.")
    length = min(length, dense.info.max_length or length)
    rows = story_rows(
        dense.encode,
        samples=_TEXTS,
        seed=seed,
        diffusion=dense.is_diffusion,
        fill_id=dense.tokenizer.eos_token_id,
        max_length=dense.info.max_length,
    )
    shown, written, losses = memoize(
        dense.module, ("quick", prompt, seed, length), lambda: _measure(dense, rows, prompt, seed, length, progress)
    )
    new_shown, new_written, new_losses = _measure(pruned, rows, prompt, seed, length, progress)
    equal = sum(a == b for a, b in zip(written, new_written, strict=False))
    return {
        "prompt": prompt,
        "dense": {"text": shown, "likelihood": losses.summary()},
        "pruned": {"text": new_shown, "likelihood": new_losses.summary()},
        "difference": new_losses.minus(losses),
        "same_tokens": equal / max(len(written), len(new_written), 1),
    }


def _measure(
    model: LoadedModel, rows: list[TextRow], prompt: str, seed: int, length: int, progress: ProgressCallback
) -> tuple[str, list[int], Losses]:
    """(the whole text, the token ids written behind the prompt, the losses)."""
    to_write = length - len(model.encode(prompt))
    steps = max(1, min(_STEPS, to_write)) if model.is_diffusion else None
    written = generate(model, [prompt], length=length, steps=steps, block_length=STORY_BLOCK, seed=seed)
    end = model.tokenizer.eos_token_id
    behind = written.row(0, end)
    text = model.decode(written.tokens[0].tolist()[: written.starts[0]] + behind)
    return text, behind, text_likelihood(model, rows, draws=_DRAWS, seed=seed, progress=progress)
