"""Muon: momentum whose matrix is replaced by its nearest semi-orthogonal one.

K. Jordan 2024; scaled as by Liu et al. (arXiv 2502.16982). `torch.optim.Muon` iterates in bfloat16, which a CPU without
bfloat16 units does twenty times slower than float32; here equal shapes are stacked and iterated in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

_QUINTIC = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """For matrices only. The update has the size AdamW's would have (0.2 * sqrt(largest side))."""

    def __init__(self, params, lr: float, momentum: float = 0.95):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault(p.shape, []).append(p)
            for shape, params in by_shape.items():
                updates = []
                for p in params:
                    buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                    buffer.lerp_(p.grad, 1 - group["momentum"])
                    updates.append(p.grad.lerp(buffer, group["momentum"]))  # Nesterov
                for p, update in zip(params, orthogonalize(torch.stack(updates)), strict=True):
                    p.add_(update, alpha=-group["lr"] * 0.2 * max(shape) ** 0.5)


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
