"""Greedy generation, which tasks, speed and side-by-side texts are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..specs import SamplingOptions

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel

#: Whole texts are written in blocks of this many tokens. On a canvas with room to spare the likeliest tokens are the
#: end tokens of its last part: written first, they leave what is told too little room.
STORY_BLOCK = 32


@dataclass(frozen=True)
class Generation:
    """The result of `generate`.

    ``tokens`` [prompts, length] after the last step, prompts included; ``starts``: the column behind each prompt;
    ``count``: tokens written in all rows together.
    """

    tokens: Tensor
    starts: tuple[int, ...]
    count: int

    def row(self, index: int, end: int | None, start: int | None = None, size: int | None = None) -> list[int]:
        """Return the tokens of row ``index`` up to the ``end`` token.

        ``start``: first column, default: behind its prompt; ``size``: largest number of tokens.
        """
        start = self.starts[index] if start is None else start
        ids = self.tokens[index].tolist()[start : None if size is None else start + size]
        return ids[: ids.index(end)] if end in ids else ids


def generate(
    model: LoadedModel,
    prompts: list[str],
    *,
    length: int,
    steps: int | None = None,
    block_length: int | None = None,
    seed: int = 0,
    until_end: bool = False,
) -> Generation:
    """Generate from the prompts at temperature 0 with the model's own sampler.

    ``steps``: denoising steps, or tokens to write for an autoregressive model; None takes as many as there are tokens
    to write, at most 64 for a diffusion model. ``block_length``: tokens of a semi-autoregressive block, for diffusion
    models that have no blocks of their own; others ignore it. ``until_end``: stop as soon as every row has an end token
    with nothing masked before it; the tokens before it are the same as without it, since no sampler here rewrites
    tokens.
    """
    from ..samplers.canvas import build_canvas
    from ..samplers.dispatch import sample

    options = generation_options(model, length=length, steps=steps, block_length=block_length, seed=seed)
    canvas = build_canvas(model, prompts, length)
    # An autoregressive canvas is padded on the left: all its prompts end at the same column.
    starts = tuple(canvas.prompt_lengths if model.is_diffusion else (length - canvas.fill,) * len(prompts))
    until_end = until_end and model.is_diffusion  # autoregressive samplers stop there by themselves
    count = 0
    for step in sample(model, canvas, options):
        tokens = step.next_tokens
        count += int(step.accepted.sum())
        if until_end and _ended(tokens, starts, model.tokenizer.eos_token_id, model.check_masked()):
            break
    return Generation(tokens, starts, count)


def generation_options(
    model: LoadedModel, *, length: int, steps: int | None, block_length: int | None, seed: int
) -> SamplingOptions:
    """Return the options of `generate`: a model that has blocks of its own, or none, is given no block length."""
    if not model.is_diffusion or model.info.block_size is not None:
        block_length = None
    return SamplingOptions.build(length=length, steps=steps, block_length=block_length, seed=seed)


def sample_rows(model: LoadedModel, count: int, *, length: int, seed: int) -> list[tuple[list[int], list[bool]]]:
    """Return texts that the model writes at temperature 1 from nothing but its start token.

    Returns:
        For each text its token ids, up to its end token, and which of them were given.
    """
    from ..samplers.canvas import canvas_of_ids
    from ..samplers.dispatch import sample

    start = model.encode("") if model.tokenizer is not None else []
    canvas = canvas_of_ids(model, [start] * count, length)
    options = SamplingOptions.build(length=length, temperature=1.0, seed=seed)
    tokens = canvas.tokens
    for step in sample(model, canvas, options):
        tokens = step.next_tokens
    end = getattr(model.tokenizer, "eos_token_id", None)
    rows = []
    for ids, given in zip(tokens.tolist(), canvas.given.tolist(), strict=True):
        behind = [position for position, flag in enumerate(given) if not flag and ids[position] == end]
        stop = behind[0] + 1 if behind else len(ids)
        rows.append((ids[:stop], given[:stop]))
    return rows


def _ended(tokens: Tensor, starts: tuple[int, ...], end: int, mask: int) -> bool:
    """Return whether every row of ``tokens`` has an ``end`` after its start with nothing masked in between."""
    columns = torch.arange(tokens.shape[1], device=tokens.device)
    behind = columns >= torch.tensor(starts, device=tokens.device)[:, None]
    ends = (tokens == end) & behind
    before = behind & (ends.cumsum(1) == 0)
    return bool((ends.any(1) & ~((tokens == mask) & before).any(1)).all())
