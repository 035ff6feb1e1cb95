"""Muon for the hidden matrices, AdamW for the rest; the learning rate warms up, stays, and falls linearly to zero.

Muon (K. Jordan 2024; scaling of Liu et al. 2502.16982): the momentum of a matrix is replaced by its nearest
semi-orthogonal matrix, found by a quintic Newton-Schulz iteration. `torch.optim.Muon` iterates in bfloat16, which a CPU
without bfloat16 units does slowly; here equal shapes are stacked and iterated in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from demo_training.parallel import Workers

_QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalize(stack: Tensor, steps: int = 5) -> Tensor:
    """(n, rows, columns) -> the same shape with singular values near 1 (between about 0.7 and 1.2)."""
    a, b, c = _QUINTIC
    tall = stack.shape[-2] > stack.shape[-1]
    x = stack.mT if tall else stack
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised; the update has the size AdamW's would have (0.2 * sqrt(largest side))."""

    def __init__(self, params, lr: float, workers: Workers, momentum: float = 0.95):
        super().__init__(params, {"lr": lr, "momentum": momentum})
        self._workers = workers

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault(tuple(p.shape), []).append(p)
            # stacks of a few equal matrices: large enough to be fast, enough of them to keep every core at work
            stacks = [params[i : i + 6] for params in by_shape.values() for i in range(0, len(params), 6)]
            self._workers.map(lambda params, group=group: self._update(params, group), stacks)

    def _update(self, params: list[Tensor], group: dict) -> None:
        updates = []
        with torch.no_grad():  # gradient mode belongs to a thread
            for p in params:
                buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                updates.append(p.grad.lerp(buffer, group["momentum"]))  # Nesterov
            step = group["lr"] * 0.2 * max(params[0].shape) ** 0.5
            for p, update in zip(params, orthogonalize(torch.stack(updates)), strict=True):
                p.add_(update, alpha=-step)


def build_optimizers(model, lr: float, other_lr: float, workers: Workers) -> list[torch.optim.Optimizer]:
    """Muon at `lr` for every matrix inside the layers, AdamW at `other_lr` for embeddings, output head and norms."""
    hidden = [p for name, p in model.named_parameters() if p.ndim == 2 and ".layers." in name]
    inside = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if id(p) not in inside]
    return [Muon(hidden, lr, workers), torch.optim.AdamW(rest, lr=other_lr, betas=(0.9, 0.98), weight_decay=0.0)]


def schedule(step: int, total: int, warmup: int = 50, decay_share: float = 0.4) -> float:
    """Factor of the learning rate at this step: 0..1 over `warmup`, 1, then linearly to 0 over the last share."""
    decay_from = total * (1 - decay_share)
    falling = (total - step) / (total - decay_from) if step > decay_from else 1.0
    return min((step + 1) / warmup, falling, 1.0)
