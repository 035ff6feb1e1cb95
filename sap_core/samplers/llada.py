"""LLaDA's rules (arXiv 2502.09992, generate.py), used as they are within the blocks of SDAR (arXiv 2510.06303).

A block's M masked tokens are shared evenly among its steps (`even_share`; A2D's dLLM rounds, `rounded_shares`). A step
keeps its share of the predictions: those with the highest share p[x0] (`StepContext.draw`), or a random choice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import required
from .denoise import StepContext, sampler_of, share, top_positions


def keep_surest(context: StepContext) -> tuple[Tensor, Tensor, Tensor]:
    """Return the predictions with the highest probability."""
    predicted, score = _predicted(context)
    return _keep_share(context, predicted, score)


def keep_random(context: StepContext) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions at random; the confidence is the uniform random number that ranked them, drawn for every row."""
    predicted, _ = context.draw()
    score = context.rows.of(torch.rand(context.rows.total, generator=context.generator)).to(predicted.device)
    return _keep_share(context, predicted, score)


def keep_above_threshold(context: StepContext) -> tuple[Tensor, Tensor, Tensor]:
    """Return every prediction with at least the threshold's probability, and at least one a step.

    Fast-dLLM's rule (arXiv 2505.22618), for LLaDA and, on Dream's shares, for Dream: of the predictions sorted by
    confidence the first stays, another while its confidence >= threshold. Given fewer steps than tokens, no fewer than
    an even share. A block ends as soon as it is full.
    """
    predicted, score = _predicted(context)
    return (
        predicted,
        score,
        _sure(context, score, context.over_canvas(score, 0.0).ge(_threshold(context))),
    )


def keep_dynamic(context: StepContext) -> tuple[Tensor, Tensor, Tensor]:
    """Return every prediction above the threshold, or an even share of the block's tokens if that is more.

    SDAR's low_confidence_dynamic (arXiv 2510.06303), LLaDA2's generate (threshold 0.95), and, with one step for each
    token, Fast-dLLM v2's (arXiv 2509.26328). Above, not at: a probability that is 1 in float32 is not above 1.
    """
    predicted, score = _predicted(context)
    return (
        predicted,
        score,
        _sure(context, score, context.over_canvas(score, 0.0).gt(_threshold(context))),
    )


def _predicted(context: StepContext) -> tuple[Tensor, Tensor]:
    predicted, shares = context.draw()
    return predicted, shares.gather(-1, predicted[:, None])[:, 0]


def _sure(context: StepContext, score: Tensor, sure: Tensor) -> Tensor:
    return sure & context.allowed | top_positions(context.over_canvas(score, 0.0), context.allowed, share(context))


def _keep_share(context: StepContext, predicted: Tensor, score: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return predicted, score, top_positions(context.over_canvas(score, 0.0), context.allowed, share(context))


low_confidence = sampler_of(keep_surest)
random = sampler_of(keep_random)
confidence_threshold = sampler_of(keep_above_threshold)
low_confidence_dynamic = sampler_of(keep_dynamic)


def _threshold(context: StepContext) -> float:
    return required(context.sampling.threshold, "the threshold of the sampler")
