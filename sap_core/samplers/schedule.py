"""Rules that follow a noise schedule: Dream's four (generation_utils.py), RND1's, and MDLM's ancestral sampler.

Dream's time runs along t = linspace(1, eps, steps + 1), eps = 1e-3; a step goes from t to the next s, and a token that
is masked at t is still masked at s with probability s / t (the log-linear schedule). The last step writes what is left.
Shares p are softmax(restrict(l / T)), at T = 0 of l itself (`Moment.draw`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .denoise import Moment, sampler_of, top_positions

EPSILON = 1e-3
MDLM_EPSILON = 1e-5


def origin(moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
    """Every mask opens with probability 1 - s / t (Dream, ``origin``); tokens are drawn for those that open."""
    opens = (torch.rand(len(moment.logits), generator=moment.generator) < opening(moment)).to(moment.logits.device)
    predicted = moment.logits.argmax(-1)
    score = torch.softmax(moment.logits, -1).gather(-1, predicted[:, None])[:, 0]
    if opens.any():
        drawn, shares = moment.of(opens).draw()
        predicted[opens] = drawn
        score[opens] = shares.gather(-1, drawn[:, None])[:, 0]
    return predicted, score, moment.over_canvas(opens.float(), 0.0).bool() & moment.allowed


def maskgit_plus(moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
    """The predictions of highest p[x0] (Dream, ``maskgit_plus``)."""
    predicted, shares = moment.draw()
    return _keep_scheduled(moment, predicted, shares.gather(-1, predicted[:, None])[:, 0])


def topk_margin(moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
    """The predictions whose p is furthest above the second best (Dream, ``topk_margin``)."""
    predicted, shares = moment.draw()
    best = shares.topk(2, -1).values
    return _keep_scheduled(moment, predicted, best[:, 0] - best[:, 1])


def entropy(moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
    """The predictions made with least entropy; confidence = sum p ln(p + 1e-10) (Dream, ``entropy``)."""
    predicted, shares = moment.draw()
    return _keep_scheduled(moment, predicted, (shares * torch.log(shares + 1e-10)).sum(-1))


def entropy_linear(moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
    """All but the predictions of highest entropy, as many as a line says (RND1, sampling.py).

    After step k of K, int(M (K - k) / K) of the M masks stay: those of highest entropy H = -sum p ln p. The confidence
    is -H.
    """
    predicted, shares = moment.draw()
    score = entropies(shares).neg()
    left = (moment.start.float() * ((moment.steps - moment.step - 1) / moment.steps)).long()
    stays = top_positions(moment.over_canvas(score.neg(), 0.0), moment.allowed, left)
    return predicted, score, moment.allowed & ~stays


def entropy_bounded(moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
    """As many predictions as are sure together (EB-Sampler, arXiv 2505.24857; RND1's ``eb_gamma``).

    Sorted by p[x0], highest first, the longest beginning U with sum of H over U - max of H over U <= gamma; at least
    one. The difference bounds what the tokens of U can tell of each other. The last step writes what is left.
    """
    predicted, shares = moment.draw()
    score = shares.gather(-1, predicted[:, None])[:, 0]
    if moment.step == moment.steps - 1:
        return predicted, score, moment.allowed
    ranked = moment.over_canvas(score, 0.0).masked_fill(~moment.allowed, -torch.inf)
    order = ranked.argsort(dim=1, descending=True, stable=True)
    sorted_ = moment.over_canvas(entropies(shares), 0.0).masked_fill(~moment.allowed, torch.inf).gather(1, order)
    fits = sorted_.cumsum(1) - sorted_.cummax(1).values <= moment.sampling.entropy_limit
    fits[:, 0] = True
    return predicted, score, torch.zeros_like(fits).scatter_(1, order, fits) & moment.allowed


def mdlm(moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
    """Ancestral sampling (MDLM, arXiv 2406.07524): a draw from q = p(x0) (t - s), q[mask] = s.

    t runs along linspace(1, 1e-5, K) for K steps, of which the last takes the likeliest token of every mask that is
    left. A draw is argmax(q / (1e-10 - ln(u + 1e-10))), u uniform, for every row of the canvas. Written tokens stay as
    they are. At temperature 0, p is the argmax, and only which masks open is random.
    """
    shares = torch.softmax(
        moment.logits / moment.sampling.temperature if moment.sampling.temperature else moment.logits, -1
    )
    best = shares.argmax(-1)
    if moment.step == moment.steps - 1:
        return best, shares.gather(-1, best[:, None])[:, 0], moment.allowed
    if not moment.sampling.temperature:
        shares = torch.nn.functional.one_hot(best, shares.shape[-1]).to(shares)
    before, after = mdlm_times(moment)
    q = shares * (before - after)
    q[:, moment.mask_id] = after
    drawn = categorical(q, moment)
    accepted = moment.over_canvas((drawn != moment.mask_id).float(), 0.0).bool() & moment.allowed
    return drawn, shares.gather(-1, drawn[:, None])[:, 0], accepted


def categorical(q: Tensor, moment: Moment) -> Tensor:
    """argmax(q / (1e-10 - ln(u + 1e-10))) of each row (n, V), as MDLM and ReMDM draw; (n,)."""
    noise = torch.rand((moment.rows.total, q.shape[-1]), generator=moment.generator, dtype=q.dtype)
    return (q / (1e-10 - (moment.rows.of(noise).to(q.device) + 1e-10).log())).argmax(-1)


def mdlm_times(moment: Moment) -> tuple[float, float]:
    """t and s = t - (1 - eps) / (K - 1) of this step, of K with the last one, which has none."""
    line = torch.linspace(1, MDLM_EPSILON, moment.steps)
    before = line[moment.step]
    return float(before), float(before - (1 - MDLM_EPSILON) / (moment.steps - 1))


def entropies(shares: Tensor) -> Tensor:
    """-sum p ln p of each row, 0 ln 0 being 0; (n,)."""
    return torch.special.entr(shares).sum(-1)


def opening(moment: Moment) -> float:
    """1 - s / t, the probability that a mask opens at this step; 1 at the last."""
    line = torch.linspace(1, EPSILON, moment.steps + 1)
    # In float32, as Dream's code has it: how many masks open is a whole number that the last bit can decide.
    return 1.0 if moment.step == moment.steps - 1 else float(1 - line[moment.step + 1] / line[moment.step])


def _keep_scheduled(moment: Moment, predicted: Tensor, score: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The M (1 - s / t) best by score, or with a confidence temperature (Dream's alg_temp) as many drawn without
    replacement from softmax(score / alg_temp) over the canvas."""
    counts = (moment.allowed.sum(1) * opening(moment)).long()
    heat = moment.sampling.confidence_temperature
    if not heat:
        return predicted, score, top_positions(moment.over_canvas(score, 0.0), moment.allowed, counts)
    chances = moment.over_canvas(score, 0.0).masked_fill(~moment.allowed, -torch.inf) / heat
    chosen = torch.zeros_like(moment.allowed)
    for row, count in enumerate(counts.tolist()):
        if count:
            places = torch.multinomial(
                torch.softmax(chances[row : row + 1], -1).cpu(), count, generator=moment.generator
            )
            chosen[row, places[0].to(chosen.device)] = True
    return predicted, score, chosen


origin_sampler = sampler_of(origin)
maskgit_plus_sampler = sampler_of(maskgit_plus)
topk_margin_sampler = sampler_of(topk_margin)
entropy_sampler = sampler_of(entropy)
entropy_linear_sampler = sampler_of(entropy_linear)
entropy_bounded_sampler = sampler_of(entropy_bounded)
mdlm_sampler = sampler_of(mdlm)
