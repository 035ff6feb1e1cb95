"""Rules that follow a noise schedule: Dream's four (generation_utils.py) and MDLM's ancestral sampler.

Time runs along t = linspace(1, eps, steps + 1), eps = 1e-3; a step goes from t to the next s, and a token that is
masked at t is still masked at s with probability s / t (the log-linear schedule). The last step writes what is left.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .denoise import (
    Moment,
    predict,
    probability,
    sampler_of,
    top_positions,
)

EPSILON = 1e-3


def origin(moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
    """Every mask opens with probability 1 - s / t (Dream, ``origin``)."""
    logits = tempered(moment)
    predicted = predict(moment.logits, moment.temperature, moment.generator)
    opens = torch.rand(predicted.shape, generator=moment.generator).to(logits.device) < opening(moment)
    accepted = moment.over_canvas(opens.float(), 0.0).bool() & moment.allowed
    return predicted, probability(logits, predicted), accepted


def maskgit_plus(moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
    """The predictions of highest probability (Dream, ``maskgit_plus``)."""
    logits = tempered(moment)
    predicted = predict(moment.logits, moment.temperature, moment.generator)
    return _keep_scheduled(moment, predicted, probability(logits, predicted))


def topk_margin(moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
    """The predictions whose probability is furthest above the second best (Dream, ``topk_margin``)."""
    best = torch.softmax(tempered(moment), -1).topk(2, -1).values
    predicted = predict(moment.logits, moment.temperature, moment.generator)
    return _keep_scheduled(moment, predicted, best[:, 0] - best[:, 1])


def entropy(moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
    """The predictions made with least entropy; confidence = sum p ln p (Dream, ``entropy``)."""
    shares = torch.softmax(tempered(moment), -1)
    predicted = predict(moment.logits, moment.temperature, moment.generator)
    return _keep_scheduled(moment, predicted, (shares * torch.log(shares + 1e-10)).sum(-1))


def mdlm(moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
    """Ancestral sampling (MDLM, arXiv 2406.07524): a draw from q = p(x0) (t - s) / t, q[mask] = s / t.

    Written tokens stay as they are. At temperature 0, p is the argmax, and only which masks open is random.
    """
    before, after = times(moment)
    shares = torch.softmax(tempered(moment), -1)
    if not moment.temperature:
        shares = torch.nn.functional.one_hot(shares.argmax(-1), shares.shape[-1]).to(shares)
    last = moment.step == moment.steps - 1
    # q up to its sum; the mask token itself is never what a mask becomes.
    q = shares * (before - after)
    q[:, moment.mask_id] = 0.0 if last else after
    drawn = predict(q.log(), 1.0, moment.generator)
    accepted = moment.over_canvas((drawn != moment.mask_id).float(), 0.0).bool() & moment.allowed
    return drawn, shares.gather(-1, drawn[:, None])[:, 0], accepted


def times(moment: Moment) -> tuple[float, float]:
    """t and s of this step."""
    line = torch.linspace(1, EPSILON, moment.steps + 1)
    return float(line[moment.step]), float(line[moment.step + 1])


def opening(moment: Moment) -> float:
    """1 - s / t, the probability that a mask opens at this step; 1 at the last."""
    line = torch.linspace(1, EPSILON, moment.steps + 1)
    # In float32, as Dream's code has it: how many masks open is a whole number that the last bit can decide.
    return 1.0 if moment.step == moment.steps - 1 else float(1 - line[moment.step + 1] / line[moment.step])


def tempered(moment: Moment) -> Tensor:
    """l / T; l itself at T = 0."""
    return moment.logits / moment.temperature if moment.temperature else moment.logits


def _keep_scheduled(moment: Moment, predicted: Tensor, score: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    counts = (moment.allowed.sum(1) * opening(moment)).long()
    return predicted, score, top_positions(moment.over_canvas(score, 0.0), moment.allowed, counts)


origin_sampler = sampler_of(origin)
maskgit_plus_sampler = sampler_of(maskgit_plus)
topk_margin_sampler = sampler_of(topk_margin)
entropy_sampler = sampler_of(entropy)
mdlm_sampler = sampler_of(mdlm)
