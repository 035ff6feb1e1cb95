"""First-order saliency: how much of the loss hangs on each weight, from gradients on calibration texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ...models.loaded import shift_back
from ...progress import Progress, ProgressCallback, silent
from .statistics import TokenRows, rows_at_once

if TYPE_CHECKING:
    from ...models.loaded import LoadedModel


def taylor_scores(
    model: LoadedModel, data: TokenRows, clean: Tensor, progress: ProgressCallback = silent
) -> dict[str, Tensor]:
    """abs(W * dL/dW) summed over batches, float32 [out, in], by name.

    Molchanov et al., arXiv 1906.10771, in the absolute form; one step of movement pruning (Sanh et al., arXiv
    2005.07683) without the training. L: mean cross-entropy of the masked tokens given the rest (diffusion), or of
    every next token (autoregressive). ``data``: rows as the model sees them; ``clean`` [N, S]: the same, unmasked.
    """
    modules = {name: module for layer in range(len(model.blocks)) for name, module in model.linears(layer).items()}
    weights = {name: module.weight for name, module in modules.items()}
    scores = {name: torch.zeros_like(weight, dtype=torch.float32) for name, weight in weights.items()}
    rows = rows_at_once(data.tokens.shape[1], modules.values())
    batches = list(zip(data.batches(rows), clean.split(rows), strict=True))
    try:
        for weight in weights.values():
            weight.requires_grad_(True)
        for done, ((tokens, counts), targets) in enumerate(batches):
            with torch.enable_grad():
                loss = _loss(model, tokens, counts > 0, targets)
                gradients = torch.autograd.grad(loss, list(weights.values()))
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
                scores[name] += (weight.detach().float() * gradient.float()).abs()
            progress(Progress("calibrate", done + 1, len(batches)))
    finally:
        for weight in weights.values():
            weight.requires_grad_(False)
    return scores


def _loss(model: LoadedModel, tokens: Tensor, valid: Tensor, targets: Tensor) -> Tensor:
    logits = model.forward(tokens, None).float()
    if not model.is_diffusion:
        where = valid[:, 1:]
        return cross_entropy(logits[:, :-1][where], targets[:, 1:][where])
    if model.info.shift_logits:
        logits = shift_back(logits)
    where = valid & (tokens == model.info.mask_token_id)
    return cross_entropy(logits[where], targets[where])
