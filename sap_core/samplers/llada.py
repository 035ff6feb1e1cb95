"""LLaDA's rules (arXiv 2502.09992, generate.py), used as they are within the blocks of SDAR (arXiv 2510.06303).

A block's M masked tokens are shared evenly among its steps. A step keeps its share of the predictions: those with the
highest softmax(l)[x0], or a random choice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .denoise import (
    StepContext,
    even_share,
    predict,
    probability,
    sampler_of,
    top_positions,
)


def keep_surest(context: StepContext) -> tuple[Tensor, Tensor, Tensor]:
    """The predictions with the highest probability."""
    predicted = predict(context.logits, context.temperature, context.generator)
    return _keep_share(context, predicted, probability(context.logits, predicted))


def keep_random(context: StepContext) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions at random; the confidence is the random number that ranked them."""
    predicted = predict(context.logits, context.temperature, context.generator)
    score = torch.rand(predicted.shape, generator=context.generator).to(predicted.device)
    return _keep_share(context, predicted, score)


def keep_above_threshold(context: StepContext) -> tuple[Tensor, Tensor, Tensor]:
    """Every prediction with at least the threshold's probability, and no fewer than an even share.

    With as many steps as tokens the share is one: Fast-dLLM's rule (arXiv 2505.22618); with fewer steps, SDAR's
    low_confidence_dynamic. A block ends as soon as it is full.
    """
    predicted = predict(context.logits, context.temperature, context.generator)
    score = probability(context.logits, predicted)
    sure = context.over_canvas(score, 0.0).ge(context.threshold) & context.allowed
    share = even_share(context.start, context.step, context.steps)
    least = top_positions(context.over_canvas(score, 0.0), context.allowed, share)
    return predicted, score, sure | least


def _keep_share(context: StepContext, predicted: Tensor, score: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    share = even_share(context.start, context.step, context.steps)
    return predicted, score, top_positions(context.over_canvas(score, 0.0), context.allowed, share)


low_confidence = sampler_of(keep_surest)
random = sampler_of(keep_random)
confidence_threshold = sampler_of(keep_above_threshold)
