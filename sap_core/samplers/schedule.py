"""Rules that follow a noise schedule: Dream's four (generation_utils.py) and MDLM's ancestral sampler.

Time runs along t = linspace(1, eps, steps + 1), eps = 1e-3; a step goes from t to the next s, and a token that is
masked at t is still masked at s with probability s / t (the log-linear schedule). The last step writes what is left.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .denoise import (
    StepContext,
    predict,
    probability,
    sampler_of,
    top_positions,
)

EPSILON = 1e-3


def origin(context: StepContext) -> tuple[Tensor, Tensor, Tensor]:
    """Every mask opens with probability 1 - s / t (Dream, ``origin``)."""
    logits = tempered(context)
    predicted = predict(context.logits, context.temperature, context.generator)
    opens = torch.rand(predicted.shape, generator=context.generator).to(logits.device) < opening(context)
    accepted = context.over_canvas(opens.float(), 0.0).bool() & context.allowed
    return predicted, probability(logits, predicted), accepted


def maskgit_plus(context: StepContext) -> tuple[Tensor, Tensor, Tensor]:
    """The predictions of highest probability (Dream, ``maskgit_plus``)."""
    logits = tempered(context)
    predicted = predict(context.logits, context.temperature, context.generator)
    return _keep_scheduled(context, predicted, probability(logits, predicted))


def topk_margin(context: StepContext) -> tuple[Tensor, Tensor, Tensor]:
    """The predictions whose probability is furthest above the second best (Dream, ``topk_margin``)."""
    best = torch.softmax(tempered(context), -1).topk(2, -1).values
    predicted = predict(context.logits, context.temperature, context.generator)
    return _keep_scheduled(context, predicted, best[:, 0] - best[:, 1])


def entropy(context: StepContext) -> tuple[Tensor, Tensor, Tensor]:
    """The predictions made with least entropy; confidence = sum p ln p (Dream, ``entropy``)."""
    shares = torch.softmax(tempered(context), -1)
    predicted = predict(context.logits, context.temperature, context.generator)
    return _keep_scheduled(context, predicted, (shares * torch.log(shares + 1e-10)).sum(-1))


def mdlm(context: StepContext) -> tuple[Tensor, Tensor, Tensor]:
    """Ancestral sampling (MDLM, arXiv 2406.07524): a draw from q = p(x0) (t - s) / t, q[mask] = s / t.

    Written tokens stay as they are. At temperature 0, p is the argmax, and only which masks open is random.
    """
    before, after = times(context)
    shares = torch.softmax(tempered(context), -1)
    if not context.temperature:
        shares = torch.nn.functional.one_hot(shares.argmax(-1), shares.shape[-1]).to(shares)
    last = context.step == context.steps - 1
    # q up to its sum; the mask token itself is never what a mask becomes.
    q = shares * (before - after)
    q[:, context.mask_id] = 0.0 if last else after
    drawn = predict(q.log(), 1.0, context.generator)
    accepted = context.over_canvas((drawn != context.mask_id).float(), 0.0).bool() & context.allowed
    return drawn, shares.gather(-1, drawn[:, None])[:, 0], accepted


def times(context: StepContext) -> tuple[float, float]:
    """t and s of this step."""
    line = torch.linspace(1, EPSILON, context.steps + 1)
    return float(line[context.step]), float(line[context.step + 1])


def opening(context: StepContext) -> float:
    """1 - s / t, the probability that a mask opens at this step; 1 at the last."""
    line = torch.linspace(1, EPSILON, context.steps + 1)
    # In float32, as Dream's code has it: how many masks open is a whole number that the last bit can decide.
    return 1.0 if context.step == context.steps - 1 else float(1 - line[context.step + 1] / line[context.step])


def tempered(context: StepContext) -> Tensor:
    """l / T; l itself at T = 0."""
    return context.logits / context.temperature if context.temperature else context.logits


def _keep_scheduled(context: StepContext, predicted: Tensor, score: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    counts = (context.allowed.sum(1) * opening(context)).long()
    return predicted, score, top_positions(context.over_canvas(score, 0.0), context.allowed, counts)


origin_sampler = sampler_of(origin)
maskgit_plus_sampler = sampler_of(maskgit_plus)
topk_margin_sampler = sampler_of(topk_margin)
entropy_sampler = sampler_of(entropy)
mdlm_sampler = sampler_of(mdlm)
