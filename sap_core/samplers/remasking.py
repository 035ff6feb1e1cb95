"""Samplers that mask written tokens again: ReMDM (arXiv 2503.00307) and P2 (arXiv 2502.03540). The prompt is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import required
from .canvas import Canvas
from .check import Sampling
from .denoise import Forward, forbid
from .draws import exactly, multinomial, restrict
from .schedule import MDLM_EPSILON
from .step import SamplerState, Step
from .step_counts import top_positions

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..specs import SamplingOptions

# ReMDM-loop's phases on OpenWebText: plain until LOOP_ON, remasking at a constant alpha, plain again from LOOP_OFF.
LOOP_ON, LOOP_OFF, LOOP_ALPHA = 0.55, 0.05, 0.9

Chances = tuple[float, float, Tensor | float]  # alpha_t, alpha_s and sigma, the chance that a written token is masked


class Remdm:
    """ReMDM: x_s ~ q with alpha = 1 - t, over K - 1 steps of t from 1 to 1e-5; the last takes the most probable tokens.

    A written token is masked again with probability sigma. A masked one becomes a token of p with probability (alpha_s
    - (1 - sigma) alpha_t) / (1 - alpha_t). With eta the strength and m = min(1, (1 - alpha_s) / alpha_t):

    - cap: sigma = min(eta, (1 - alpha_s) / alpha_t)
    - rescale: sigma = eta m
    - conf: sigma_i = m softmax(-c)_i, c_i the p a token was written with, over the written tokens
    - loop: sigma = eta at alpha = 0.9 for t in (0.05, 0.55]; before and after, MDLM with t moved to end at 0.9 and to
      begin there
    """

    def __init__(self, variant: str) -> None:
        self._variant = variant

    def __call__(
        self,
        model: LoadedModel,
        canvas: Canvas,
        options: SamplingOptions,
        sampling: Sampling,
        generator: torch.Generator,
        state: SamplerState | None = None,
    ) -> Iterator[Step]:
        """Yield the steps of one generation."""
        state = state or SamplerState(0, canvas.tokens.clone(), {})
        mask_id, tokens = model.check_masked(), state.tokens
        forward = Forward(model, canvas, options.guidance)
        doubt = torch.full(tokens.shape, -torch.inf, device=tokens.device)
        if state.memory:
            doubt = state.memory["doubt"].to(tokens.device)
        line = torch.linspace(1, MDLM_EPSILON, sampling.steps)
        for index in range(state.index, sampling.steps):
            last = index == sampling.steps - 1
            masked = tokens == mask_id
            shares = _shares(model, forward(tokens, None), sampling)
            best = shares.argmax(-1)
            if last:
                drawn = best
            else:
                step = (1 - MDLM_EPSILON) / (sampling.steps - 1)
                given = torch.nn.functional.one_hot(tokens, shares.shape[-1]).to(shares)
                p = torch.where(masked[..., None], _cold(shares, best, sampling.temperature), given)
                drawn = _draw(
                    p, masked, mask_id, self._chances(float(line[index]), step, doubt, masked, sampling), generator
                )
            following = torch.where(canvas.given | (~masked if last else canvas.given), tokens, drawn)
            score = shares.gather(-1, following[..., None])[..., 0]
            opened = masked & (following != mask_id)
            doubt = torch.where(opened, -score, doubt).masked_fill(following == mask_id, -torch.inf)
            confidence = torch.where(masked, score, torch.nan)
            yield Step(index, sampling.steps, tokens, masked, confidence, opened, following, {"doubt": doubt})
            tokens = following

    def _chances(self, t: float, step: float, doubt: Tensor, masked: Tensor, sampling: Sampling) -> Chances:
        s = t - step
        eta = 0.0 if self._variant == "conf" else required(sampling.remasking, "the share of remasking")
        if self._variant == "loop":
            if t > LOOP_ON:
                return (1 - t) * LOOP_ALPHA / (1 - LOOP_ON), (1 - s) * LOOP_ALPHA / (1 - LOOP_ON), 0.0
            if t <= LOOP_OFF:
                return 1 - t * (1 - LOOP_ALPHA) / LOOP_OFF, 1 - s * (1 - LOOP_ALPHA) / LOOP_OFF, 0.0
            return LOOP_ALPHA, LOOP_ALPHA, eta
        most = (1 - (1 - s)) / (1 - t) if t < 1 else float("inf")
        if self._variant == "cap":
            return 1 - t, 1 - s, min(eta, most)
        most = min(1.0, most)
        if self._variant == "rescale":
            return 1 - t, 1 - s, eta * most
        chance = torch.softmax(doubt, -1).nan_to_num(0.0).masked_fill(masked, 0.0) * most
        return 1 - t, 1 - s, chance[..., None]


def p2(
    model: LoadedModel,
    canvas: Canvas,
    options: SamplingOptions,
    sampling: Sampling,
    generator: torch.Generator,
    state: SamplerState | None = None,
) -> Iterator[Step]:
    """Yield steps of path planning (P2, arXiv 2502.03540, as Open-dLLM publishes it).

    At step i of K a token x0 is drawn at every position. Of the M positions to write, the floor(M (1 - (i + 1) / K))
    with the lowest p[x0] are masked, written ones among them; masks that are not among them take their x0. Ends when no
    mask is left.
    """
    state = state or SamplerState(0, canvas.tokens.clone(), {})
    mask_id, tokens = model.check_masked(), state.tokens
    forward = Forward(model, canvas, options.guidance)
    open_ = ~canvas.given
    for index in range(state.index, sampling.steps):
        masked = tokens == mask_id
        if not masked.any():
            return
        logits = forbid(model, forward(tokens, None))
        heat = sampling.temperature
        shares = torch.softmax(restrict(logits / heat if heat else logits, sampling.top_k, sampling.top_p, True), -1)
        flat = shares.flatten(0, 1)
        drawn = (multinomial(flat, generator, exactly(len(flat))) if heat else flat.argmax(-1)).view(tokens.shape)
        score = shares.gather(-1, drawn[..., None])[..., 0]
        counts = (open_.sum(1).float() * (1.0 - (index + 1) / sampling.steps)).floor().long()
        again = top_positions(-score, open_, counts)
        following = torch.where(masked & ~again, drawn, tokens).masked_fill(again, mask_id)
        confidence = torch.where(masked, score, torch.nan)
        yield Step(index, sampling.steps, tokens, masked, confidence, masked & ~again, following)
        tokens = following


def _shares(model: LoadedModel, logits: Tensor, sampling: Sampling) -> Tensor:
    """Return p of every position, without the mask token."""
    logits = logits.index_fill(-1, torch.tensor([model.check_masked()], device=logits.device), -torch.inf)
    logits = logits / sampling.temperature if sampling.temperature else logits
    return torch.softmax(restrict(logits, sampling.top_k, sampling.top_p), -1)


def _cold(shares: Tensor, best: Tensor, temperature: float) -> Tensor:
    return shares if temperature else torch.nn.functional.one_hot(best, shares.shape[-1]).to(shares)


def _draw(p: Tensor, masked: Tensor, mask_id: int, chances: Chances, generator: torch.Generator) -> Tensor:
    """Return one draw at every position: argmax(q / (1e-10 - ln(u + 1e-10))), in float64 as published."""
    device = p.device
    p = p.double() if device.type != "mps" else p.cpu().double()
    before, after, sigma = chances
    opened = p * ((after - (1 - sigma) * before) / (1 - before))
    stays = (1 - after - sigma * before) / (1 - before)
    q = torch.where(masked[..., None], opened, p * (1 - sigma))
    chance = torch.where(
        masked[..., None], torch.as_tensor(stays, device=p.device), torch.as_tensor(sigma, device=p.device)
    )
    q[..., mask_id] = chance[..., 0].to(q)
    noise = torch.rand(q.shape, generator=generator, dtype=q.dtype).to(q.device)
    return (q / (1e-10 - (noise + 1e-10).log())).argmax(-1).to(device)


remdm_cap: Callable = Remdm("cap")
remdm_rescale: Callable = Remdm("rescale")
remdm_conf: Callable = Remdm("conf")
remdm_loop: Callable = Remdm("loop")
