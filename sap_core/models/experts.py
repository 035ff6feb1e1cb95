"""Mixtures of experts as linear layers: transformers keeps all experts of a block in 3-D tensors, which no pruner sees.

Here each expert's matrices become nn.Linear modules under the names the checkpoint gives them, on views of the same
memory, so that scores, masks and saving treat an expert like any other layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .layout import EXPERT, Matrix


class Expert(nn.Module):
    """down(act(gate(x)) * up(x))."""

    def __init__(self, gate: Tensor, up: Tensor, down: Tensor, act: nn.Module) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = map(_linear, (gate, up, down))
        self.act_fn = act

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))

    def route(self, routed: Routed) -> None:
        """Tell the layers whose rows come next."""
        layers: tuple[Any, ...] = (self.gate_proj, self.up_proj, self.down_proj)
        for layer in layers:
            layer.routed = routed


@dataclass(frozen=True)
class Routed:
    """Which tokens an expert's input rows are: ``tokens`` (rows,), numbers among ``total`` tokens of the batch."""

    tokens: Tensor
    total: int

    def spread(self, x: Tensor) -> Tensor:
        """(rows, width) back to (total, width), zero for the tokens of other experts."""
        return x.new_zeros(self.total, x.shape[-1]).index_copy_(0, self.tokens, x)


class Experts(nn.ModuleList):
    """Drop-in for transformers' experts modules; the sum over each token's chosen experts, in their order.

    Every expert is called, with no rows if no token chose it, and its layers carry ``routed`` while it runs: whoever
    watches a layer's input learns whose it is.
    """

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """hidden_states (tokens, width), top_k_index and top_k_weights (tokens, k) -> (tokens, width)."""
        total = torch.zeros_like(hidden_states)
        experts: list[Any] = list(self)
        for number, expert in enumerate(experts):
            token, rank = torch.where(top_k_index == number)
            expert.route(Routed(token, len(hidden_states)))
            output = expert(hidden_states[token]) * top_k_weights[token, rank, None]
            total.index_add_(0, token, output.to(total.dtype))
        return total


def unpack_experts(module: nn.Module, matrices: tuple[Matrix, ...]) -> None:
    """Replace, in place, the packed experts that ``matrices`` name one by one."""
    owners = {match["owner"]: None for matrix in matrices if (match := EXPERT.match(matrix.name))}
    for owner in owners:
        packed: Any = module.get_submodule(owner)
        if not hasattr(packed, "gate_up_proj"):
            continue
        gate_up, down = packed.gate_up_proj.data, packed.down_proj.data
        experts = Experts(Expert(*halves(both), last, packed.act_fn) for both, last in zip(gate_up, down, strict=True))
        parent, _, name = owner.rpartition(".")
        setattr(module.get_submodule(parent), name, experts)


def _linear(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer


def halves(both: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and the second half of the rows."""
    first, second = both.chunk(2)
    return first, second
