"""LLaDA's rules (arXiv 2502.09992, generate.py), used as they are within the blocks of SDAR (arXiv 2510.06303).

A block's M masked tokens are shared evenly among its steps. A step keeps its share of the predictions: those with the
highest softmax(l)[x0], or a random choice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .denoise import (
    Moment,
    even_share,
    predict,
    probability,
    sampler_of,
    top_positions,
)


def keep_surest(moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
    """The predictions with the highest probability."""
    predicted = predict(moment.logits, moment.temperature, moment.generator)
    return _keep_share(moment, predicted, probability(moment.logits, predicted))


def keep_random(moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions at random; the confidence is the random number that ranked them."""
    predicted = predict(moment.logits, moment.temperature, moment.generator)
    score = torch.rand(predicted.shape, generator=moment.generator).to(predicted.device)
    return _keep_share(moment, predicted, score)


def keep_above_threshold(moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
    """Every prediction with at least the threshold's probability, and no fewer than an even share.

    With as many steps as tokens the share is one: Fast-dLLM's rule (arXiv 2505.22618); with fewer steps, SDAR's
    low_confidence_dynamic. A block ends as soon as it is full.
    """
    predicted = predict(moment.logits, moment.temperature, moment.generator)
    score = probability(moment.logits, predicted)
    sure = moment.over_canvas(score, 0.0).ge(moment.threshold) & moment.allowed
    share = even_share(moment.start, moment.step, moment.steps)
    least = top_positions(moment.over_canvas(score, 0.0), moment.allowed, share)
    return predicted, score, sure | least


def _keep_share(moment: Moment, predicted: Tensor, score: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    share = even_share(moment.start, moment.step, moment.steps)
    return predicted, score, top_positions(moment.over_canvas(score, 0.0), moment.allowed, share)


low_confidence = sampler_of(keep_surest)
random = sampler_of(keep_random)
confidence_threshold = sampler_of(keep_above_threshold)
