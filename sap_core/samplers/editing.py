"""LLaDA2.1's sampler, which continues to rewrite the tokens of a block after they are written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import required
from .blocks import Blocks
from .canvas import Canvas
from .check import Sampling
from .denoise import Forward, forbid
from .draws import Rows, multinomial, restrict
from .end_rules import EndRule
from .step import SamplerState, Step
from .step_counts import top_positions

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..specs import SamplingOptions

MOST_PASSES = 16  # over a full block (max_post_steps)


def token_editing(
    model: LoadedModel,
    canvas: Canvas,
    options: SamplingOptions,
    sampling: Sampling,
    generator: torch.Generator,
    state: SamplerState | None = None,
) -> Iterator[Step]:
    """Yield steps that write and rewrite by two thresholds (LLaDA2.1's generate).

    At each pass over a block a token x0 with probability p is drawn at every position of it. Masks: those with p >
    threshold are written, at least the best one. Written tokens that are not of the prompt: those with p >
    edit_threshold become x0. A block ends when it has no mask and nothing was rewritten, at the latest after 16 passes
    without masks.
    """
    known = {"block": -1, "after": 0, "over": False} if state is None else state.memory
    mask_id, tokens = model.check_masked(), canvas.tokens.clone() if state is None else state.tokens
    threshold = required(sampling.threshold, "threshold")
    edit_threshold = required(sampling.edit_threshold, "edit_threshold")
    forward, plan, ends = (
        Forward(model, canvas, options.guidance),
        Blocks(model, canvas, sampling),
        EndRule(model, canvas, sampling),
    )
    total, index = canvas.fill + MOST_PASSES * len(plan.shares), 0 if state is None else state.index
    for block in plan.shares:
        if block < known["block"]:
            continue
        inside, span = plan.numbers == block, plan.window(block)
        after, over = (known["after"], known["over"]) if block == known["block"] else (0, False)
        while not over:
            masked = (tokens == mask_id) & inside
            after += not masked.any()
            if after > MOST_PASSES:
                break
            drawn, score = _predict(model, forward(tokens, span), ends, sampling, generator)
            predicted, confidence = _placed(drawn, span, tokens, 0), _placed(score, span, tokens, -torch.inf)
            best = top_positions(confidence, masked, torch.ones(len(tokens), dtype=torch.long))
            accepted = masked & (confidence > threshold) | best
            written = inside & ~masked & ~canvas.given
            edited = written & (confidence > edit_threshold) & (predicted != tokens)
            following = torch.where(accepted | edited, predicted, tokens)
            still = tokens == mask_id
            shown = torch.where(still & inside | edited, confidence, torch.nan)
            over = not masked.any() and not edited.any()
            memory = {"block": block, "after": after, "over": over}
            yield Step(index, total, tokens, still, shown, accepted | edited, following, memory)
            tokens = following
            index += 1
        if ends.reached(tokens, plan.numbers <= block):
            return


def _predict(
    model: LoadedModel, logits: Tensor, ends: EndRule, sampling: Sampling, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return a token for every position that was computed, and its probability; both (batch, columns)."""
    heat = sampling.temperature
    logits = ends.forbid(forbid(model, logits))
    shares = torch.softmax(restrict(logits / heat, sampling.top_k, sampling.top_p) if heat else logits, -1)
    flat = shares.flatten(0, 1)
    drawn = multinomial(flat, generator, Rows(None, len(flat))) if heat else flat.argmax(-1)
    drawn = drawn.view(shares.shape[:-1])
    return drawn, shares.gather(-1, drawn[..., None])[..., 0]


def _placed(values: Tensor, span: Tensor | None, tokens: Tensor, fill: float) -> Tensor:
    """Return (batch, columns of ``span``) values at their columns of the canvas, ``fill`` elsewhere."""
    if span is None:
        return values
    canvas = torch.full(tokens.shape, fill, dtype=values.dtype, device=values.device)
    canvas[:, span] = values
    return canvas
