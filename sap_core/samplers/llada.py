"""LLaDA's rules (arXiv 2502.09992, generate.py), used as they are within the blocks of SDAR (arXiv 2510.06303).

A block's M masked tokens are shared evenly among its steps (`even_share`; A2D's dLLM rounds, `rounded_shares`). A step
keeps its share of the predictions: those with the highest share p[x0] (`Moment.draw`), or a random choice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .denoise import Moment, sampler_of, share, top_positions


def keep_surest(moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
    """The predictions with the highest probability."""
    predicted, score = _predicted(moment)
    return _keep_share(moment, predicted, score)


def keep_random(moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions at random; the confidence is the uniform random number that ranked them, drawn for every row."""
    predicted, _ = moment.draw()
    score = moment.rows.of(torch.rand(moment.rows.total, generator=moment.generator)).to(predicted.device)
    return _keep_share(moment, predicted, score)


def keep_above_threshold(moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
    """Every prediction with at least the threshold's probability, and at least one a step.

    Fast-dLLM's rule (arXiv 2505.22618), for LLaDA and, on Dream's shares, for Dream: of the predictions sorted by
    confidence the first stays, another while its confidence >= threshold. Given fewer steps than tokens, no fewer than
    an even share. A block ends as soon as it is full.
    """
    predicted, score = _predicted(moment)
    return predicted, score, _sure(moment, score, moment.over_canvas(score, 0.0).ge(moment.sampling.threshold))


def keep_dynamic(moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
    """Every prediction above the threshold, or an even share of the block's tokens if that is more.

    SDAR's low_confidence_dynamic (arXiv 2510.06303), LLaDA2's generate (threshold 0.95), and, with one step for each
    token, Fast-dLLM v2's (arXiv 2509.26328). Above, not at: a probability that is 1 in float32 is not above 1.
    """
    predicted, score = _predicted(moment)
    return predicted, score, _sure(moment, score, moment.over_canvas(score, 0.0).gt(moment.sampling.threshold))


def _predicted(moment: Moment) -> tuple[Tensor, Tensor]:
    predicted, shares = moment.draw()
    return predicted, shares.gather(-1, predicted[:, None])[:, 0]


def _sure(moment: Moment, score: Tensor, sure: Tensor) -> Tensor:
    return sure & moment.allowed | top_positions(moment.over_canvas(score, 0.0), moment.allowed, share(moment))


def _keep_share(moment: Moment, predicted: Tensor, score: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return predicted, score, top_positions(moment.over_canvas(score, 0.0), moment.allowed, share(moment))


low_confidence = sampler_of(keep_surest)
random = sampler_of(keep_random)
confidence_threshold = sampler_of(keep_above_threshold)
low_confidence_dynamic = sampler_of(keep_dynamic)
