"""LLaDA's rules (arXiv 2502.09992, generate.py), used unchanged within the blocks of SDAR (arXiv 2510.06303).

A block's M masked tokens are divided evenly among its steps (`even_share`; A2D's dLLM rounds, `rounded_shares`). A step
keeps that many predictions: those with the highest probability p[x0] (`StepContext.draw`), or a random choice.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..errors import required
from .denoise import StepContext, sampler_of
from .step_counts import even_share, rounded_shares, top_positions


def keep_surest(context: StepContext) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"], Bool[Tensor, "batch sequence"]]:
    """Return the predictions with the highest probability."""
    predicted, score = _predicted(context)
    return _keep_share(context, predicted, score)


def keep_random(context: StepContext) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"], Bool[Tensor, "batch sequence"]]:
    """Return predictions at random; the confidence is the uniform random number that ranked them.

    It is drawn for every row.
    """
    predicted, _ = context.draw()
    score = context.rows.of(torch.rand(context.rows.total, generator=context.generator)).to(predicted.device)
    return _keep_share(context, predicted, score)


def keep_above_threshold(
    context: StepContext,
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"], Bool[Tensor, "batch sequence"]]:
    """Return every prediction with at least the threshold's probability, and at least one per step.

    Fast-dLLM's rule (arXiv 2505.22618), for LLaDA and, on Dream's probabilities, for Dream: of the predictions sorted
    by confidence the first is kept, another while its confidence >= threshold. Given fewer steps than tokens, no fewer
    than an even part. A block ends as soon as it is full.
    """
    predicted, score = _predicted(context)
    return (
        predicted,
        score,
        _sure(context, score, context.over_canvas(score, 0.0).ge(_threshold(context))),
    )


def keep_dynamic(context: StepContext) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"], Bool[Tensor, "batch sequence"]]:
    """Return every prediction above the threshold, or an even part of the block's tokens if that is more.

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
    return sure & context.allowed | top_positions(context.over_canvas(score, 0.0), context.allowed, _share(context))


def _keep_share(context: StepContext, predicted: Tensor, score: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return predicted, score, top_positions(context.over_canvas(score, 0.0), context.allowed, _share(context))


def _share(context: StepContext) -> Tensor:
    """Return how many tokens of its block this step writes in each text; (batch,)."""
    if context.sampling.rounded_shares:
        counts = [rounded_shares(count, context.steps) for count in context.start.tolist()]
        return torch.tensor([row[context.step] if context.step < len(row) else 0 for row in counts])
    return even_share(context.start, context.step, context.steps)


low_confidence = sampler_of(keep_surest)
random = sampler_of(keep_random)
confidence_threshold = sampler_of(keep_above_threshold)
low_confidence_dynamic = sampler_of(keep_dynamic)


def _threshold(context: StepContext) -> float:
    return required(context.sampling.threshold, "the threshold of the sampler")
