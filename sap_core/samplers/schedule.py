"""Rules that follow a noise schedule: Dream's four (generation_utils.py), RND1's, and MDLM's ancestral sampler.

Dream's time runs along t = linspace(1, eps, steps + 1), eps = 1e-3; a step leads from t to the next s, and a token that
is masked at t is still masked at s with probability s / t (the log-linear schedule). The last step writes what is left.
Probabilities p are softmax(restrict(l / T)), at T = 0 of l itself (`StepContext.draw`).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..errors import required
from .denoise import StepContext, sampler_of
from .step_counts import top_positions

EPSILON = 1e-3
MDLM_EPSILON = 1e-5


def origin(context: StepContext) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"], Bool[Tensor, "batch sequence"]]:
    """Unmask every mask with probability 1 - s / t (Dream, ``origin``), and draw tokens for those positions."""
    opens = (torch.rand(len(context.logits), generator=context.generator) < opening(context)).to(context.logits.device)
    predicted = context.logits.argmax(-1)
    score = torch.softmax(context.logits, -1).gather(-1, predicted[:, None])[:, 0]
    if opens.any():
        drawn, shares = context.of(opens).draw()
        predicted[opens] = drawn
        score[opens] = shares.gather(-1, drawn[:, None])[:, 0]
    return predicted, score, context.over_canvas(opens.float(), 0.0).bool() & context.allowed


def maskgit_plus(context: StepContext) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"], Bool[Tensor, "batch sequence"]]:
    """Return the predictions of highest p[x0] (Dream, ``maskgit_plus``)."""
    predicted, shares = context.draw()
    return _keep_scheduled(context, predicted, shares.gather(-1, predicted[:, None])[:, 0])


def topk_margin(context: StepContext) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"], Bool[Tensor, "batch sequence"]]:
    """Return the predictions with the largest difference of p to the second best (Dream, ``topk_margin``)."""
    predicted, shares = context.draw()
    best = shares.topk(2, -1).values
    return _keep_scheduled(context, predicted, best[:, 0] - best[:, 1])


def entropy(context: StepContext) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"], Bool[Tensor, "batch sequence"]]:
    """Return the predictions with least entropy; confidence = sum p ln(p + 1e-10) (Dream, ``entropy``)."""
    predicted, shares = context.draw()
    return _keep_scheduled(context, predicted, (shares * torch.log(shares + 1e-10)).sum(-1))


def entropy_linear(
    context: StepContext,
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"], Bool[Tensor, "batch sequence"]]:
    """Return all but the predictions of highest entropy, whose number falls linearly (RND1, sampling.py).

    After step k of K, int(M (K - k) / K) of the M masks are left: those of highest entropy H = -sum p ln p. The
    confidence is -H.
    """
    predicted, shares = context.draw()
    score = entropies(shares).neg()
    left = (context.start.float() * ((context.steps - context.step - 1) / context.steps)).long()
    stays = top_positions(context.over_canvas(score.neg(), 0.0), context.allowed, left)
    return predicted, score, context.allowed & ~stays


def entropy_bounded(
    context: StepContext,
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"], Bool[Tensor, "batch sequence"]]:
    """Return as many predictions as the entropy bound allows (EB-Sampler, arXiv 2505.24857; RND1's ``eb_gamma``).

    Sorted by p[x0], highest first, the longest prefix U with sum of H over U - max of H over U <= gamma; at least one.
    The difference bounds the mutual information of the tokens of U. The last step writes what is left.
    """
    predicted, shares = context.draw()
    score = shares.gather(-1, predicted[:, None])[:, 0]
    if context.step == context.steps - 1:
        return predicted, score, context.allowed
    ranked = context.over_canvas(score, 0.0).masked_fill(~context.allowed, -torch.inf)
    order = ranked.argsort(dim=1, descending=True, stable=True)
    sorted_ = context.over_canvas(entropies(shares), 0.0).masked_fill(~context.allowed, torch.inf).gather(1, order)
    fits = sorted_.cumsum(1) - sorted_.cummax(1).values <= required(context.sampling.entropy_limit, "entropy_limit")
    fits[:, 0] = True
    return predicted, score, torch.zeros_like(fits).scatter_(1, order, fits) & context.allowed


def mdlm(context: StepContext) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"], Bool[Tensor, "batch sequence"]]:
    """Sample ancestrally (MDLM, arXiv 2406.07524): a draw from q = p(x0) (t - s), q[mask] = s.

    t runs along linspace(1, 1e-5, K) for K steps, of which the last takes the most probable token of every mask that is
    left. A draw is argmax(q / (1e-10 - ln(u + 1e-10))), u uniform, for every row of the canvas. Written tokens are not
    changed. At temperature 0, p is the argmax, and only which masks are written is random.
    """
    shares = torch.softmax(
        context.logits / context.sampling.temperature if context.sampling.temperature else context.logits, -1
    )
    best = shares.argmax(-1)
    if context.step == context.steps - 1:
        return best, shares.gather(-1, best[:, None])[:, 0], context.allowed
    if not context.sampling.temperature:
        shares = torch.nn.functional.one_hot(best, shares.shape[-1]).to(shares)
    before, after = mdlm_times(context)
    q = shares * (before - after)
    q[:, context.mask_id] = after
    drawn = categorical(q, context)
    accepted = context.over_canvas((drawn != context.mask_id).float(), 0.0).bool() & context.allowed
    return drawn, shares.gather(-1, drawn[:, None])[:, 0], accepted


def categorical(q: Float[Tensor, "n vocabulary"], context: StepContext) -> Int[Tensor, " n"]:
    """Return argmax(q / (1e-10 - ln(u + 1e-10))) of each row (n, V), as MDLM and ReMDM draw; (n,)."""
    noise = torch.rand((context.rows.total, q.shape[-1]), generator=context.generator, dtype=q.dtype)
    return (q / (1e-10 - (context.rows.of(noise).to(q.device) + 1e-10).log())).argmax(-1)


def mdlm_times(context: StepContext) -> tuple[float, float]:
    """Return t and s = t - (1 - eps) / (K - 1) of this step, of K with the last one, which has none."""
    line = torch.linspace(1, MDLM_EPSILON, context.steps)
    before = line[context.step]
    return float(before), float(before - (1 - MDLM_EPSILON) / (context.steps - 1))


def entropies(shares: Float[Tensor, "n vocabulary"]) -> Float[Tensor, " n"]:
    """Return -sum p ln p of each row, 0 ln 0 being 0; (n,)."""
    return torch.special.entr(shares).sum(-1)


def opening(context: StepContext) -> float:
    """Return 1 - s / t, the probability that a mask is written at this step; 1 at the last."""
    line = torch.linspace(1, EPSILON, context.steps + 1)
    # In float32, as Dream's code has it: how many masks open is a whole number that the last bit can decide.
    return 1.0 if context.step == context.steps - 1 else float(1 - line[context.step + 1] / line[context.step])


def _keep_scheduled(context: StepContext, predicted: Tensor, score: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the M (1 - s / t) best predictions by score.

    With a confidence temperature (Dream's alg_temp), as many drawn without replacement from softmax(score / alg_temp)
    over the canvas.
    """
    counts = (context.allowed.sum(1) * opening(context)).long()
    heat = context.sampling.confidence_temperature
    if not heat:
        return predicted, score, top_positions(context.over_canvas(score, 0.0), context.allowed, counts)
    chances = context.over_canvas(score, 0.0).masked_fill(~context.allowed, -torch.inf) / heat
    chosen = torch.zeros_like(context.allowed)
    for row, count in enumerate(counts.tolist()):
        if count:
            drawn = torch.multinomial(
                torch.softmax(chances[row : row + 1], -1).cpu(), count, generator=context.generator
            )
            chosen[row, drawn[0].to(chosen.device)] = True
    return predicted, score, chosen


origin_sampler = sampler_of(origin)
maskgit_plus_sampler = sampler_of(maskgit_plus)
topk_margin_sampler = sampler_of(topk_margin)
entropy_sampler = sampler_of(entropy)
entropy_linear_sampler = sampler_of(entropy_linear)
entropy_bounded_sampler = sampler_of(entropy_bounded)
mdlm_sampler = sampler_of(mdlm)
