"""LLaDA2.1's sampler: it goes on rewriting the tokens of a block after they are written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import required
from .canvas import Canvas
from .check import Sampling
from .denoise import Blocks, Forward, forbid, top_positions
from .draws import Rows, multinomial, restrict
from .end_rules import EndRule
from .step import Step

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..specs import SamplingOptions

MOST_PASSES = 16  # over a full block (max_post_steps)


def token_editing(
    model: LoadedModel, canvas: Canvas, options: SamplingOptions, sampling: Sampling, generator: torch.Generator
) -> Iterator[Step]:
    """Accept and rewrite by two thresholds (LLaDA2.1's generate).

    At each pass over a block a token x0 with share p is drawn at every position of it. Masks: those with
    p > threshold are written, at least the best one. Written tokens that are not of the prompt: those with
    p > edit_threshold become x0. A block ends when it has no mask and nothing was rewritten, at the latest after 16
    passes without masks.
    """
    mask_id, tokens = model.check_masked(), canvas.tokens.clone()
    threshold = required(sampling.threshold, "threshold")
    edit_threshold = required(sampling.edit_threshold, "edit_threshold")
    forward, plan, ends = (
        Forward(model, canvas, options.guidance),
        Blocks(model, canvas, sampling),
        EndRule(model, canvas, sampling),
    )
    total, index = canvas.fill + MOST_PASSES * len(plan.shares), 0
    for block in plan.shares:
        inside, span, after = plan.numbers == block, plan.window(block), 0
        while True:
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
            yield Step(index, total, tokens, still, shown, accepted | edited, following)
            tokens = following
            index += 1
            if not masked.any() and not edited.any():
                break
        if ends.reached(tokens, plan.numbers <= block):
            return


def _predict(
    model: LoadedModel, logits: Tensor, ends: EndRule, sampling: Sampling, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return a token of every position that was computed, and its share; both (batch, columns)."""
    heat = sampling.temperature
    logits = ends.forbid(forbid(model, logits))
    shares = torch.softmax(restrict(logits / heat, sampling.top_k, sampling.top_p) if heat else logits, -1)
    flat = shares.flatten(0, 1)
    drawn = multinomial(flat, generator, Rows(None, len(flat))) if heat else flat.argmax(-1)
    drawn = drawn.view(shares.shape[:-1])
    return drawn, shares.gather(-1, drawn[..., None])[..., 0]


def _placed(values: Tensor, span: Tensor | None, tokens: Tensor, fill: float) -> Tensor:
    """(batch, columns of ``span``) among the columns of the canvas."""
    if span is None:
        return values
    canvas = torch.full(tokens.shape, fill, dtype=values.dtype, device=values.device)
    canvas[:, span] = values
    return canvas
