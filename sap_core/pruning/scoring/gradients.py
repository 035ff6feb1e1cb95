"""First-order saliency: how much the loss depends on each weight, from gradients on calibration texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ...models.row_positions import shift_back
from ...progress import Progress, ProgressCallback, silent
from .statistics import TokenRows, rows_at_once

if TYPE_CHECKING:
    from ...models.loaded import LoadedModel


def taylor_scores(
    model: LoadedModel, data: TokenRows, clean: Tensor, progress: ProgressCallback = silent
) -> dict[str, Tensor]:
    """Return abs(W * dL/dW) summed over batches, float32 [out, in], by matrix name.

    Molchanov et al., arXiv 1906.10771, in the absolute form; one step of movement pruning (Sanh et al., arXiv
    2005.07683) without the training. L is the mean cross-entropy of the masked tokens given the rest (diffusion), or of
    every next token (autoregressive).

    Args:
        model: The dense model.
        data: Rows as the model sees them.
        clean: [N, S], the same rows without masks.
        progress: Called after every batch.
    """
    modules = {name: module for layer in range(len(model.blocks)) for name, module in model.linears(layer).items()}
    weights = {name: module.weight for name, module in modules.items()}
    scores = {name: torch.zeros_like(weight, dtype=torch.float32) for name, weight in weights.items()}
    rows = rows_at_once(data.tokens.shape[1], modules.values())
    parts = list(data.parts(rows))
    try:
        for weight in weights.values():
            weight.requires_grad_(True)
        for done, (part, length) in enumerate(parts):
            tokens, counts, targets = (each[part, :length] for each in (data.tokens, data.weights, clean))
            where = _predicted(model, tokens, targets, counts > 0)
            if not where.any():
                continue  # at a low level of masking a short text can have nothing masked
            with torch.enable_grad():
                loss = _loss(model, tokens, where, targets)
                gradients = torch.autograd.grad(loss, list(weights.values()))
            for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
                scores[name] += (weight.detach().float() * gradient.float()).abs()
            progress(Progress("calibrate", done + 1, len(parts)))
    finally:
        for weight in weights.values():
            weight.requires_grad_(False)
    return scores


def _predicted(model: LoadedModel, tokens: Tensor, clean: Tensor, valid: Tensor) -> Tensor:
    """Return bool [B, S], the tokens whose loss counts."""
    if model.is_diffusion and not model.info.row.has_mask:
        return valid & (tokens != clean)
    if model.is_diffusion:
        return valid & (tokens == model.info.mask_token_id)
    where = valid.clone()
    where[:, 0] = False
    return where


def _loss(model: LoadedModel, tokens: Tensor, where: Tensor, targets: Tensor) -> Tensor:
    logits = model.forward(tokens, None).float()
    if not model.is_diffusion or model.info.shift_logits:
        logits = shift_back(logits)
    return cross_entropy(logits[where], targets[where])
