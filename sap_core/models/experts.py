"""Mixtures of experts as linear layers: transformers keeps all experts of a block in 3-D tensors, which no pruner sees.

Here each expert's matrices become nn.Linear modules under the names of the checkpoint, on views of the same memory, so
that scores, masks and saving treat an expert like any other layer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelProblem
from .layout import EXPERT, PACKED, Matrix


class Expert(nn.Module):
    """A gated feed-forward: down(act(gate(x)) * up(x))."""

    def __init__(self, gate: Tensor, up: Tensor, down: Tensor, act: nn.Module) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = map(_linear, (gate, up, down))
        self.act_fn = act

    def forward(self, x: Tensor) -> Tensor:
        """Return the output for the tokens of this expert, (rows, width) each."""
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))

    def route(self, routed: Routed) -> None:
        """Tell the layers which tokens their next rows belong to."""
        layers: tuple[Any, ...] = (self.gate_proj, self.up_proj, self.down_proj)
        for layer in layers:
            layer.routed = routed


@dataclass(frozen=True)
class Routed:
    """The tokens of an expert's input rows: ``tokens`` (rows,), indices among ``total`` tokens of the batch."""

    tokens: Tensor
    total: int

    def spread(self, x: Tensor) -> Tensor:
        """Return (rows, width) as (total, width), zero for the tokens of other experts."""
        return x.new_zeros(self.total, x.shape[-1]).index_copy_(0, self.tokens, x)


class Experts(nn.ModuleList):
    """Replacement of transformers' experts modules: the sum over each token's chosen experts, in their order.

    Every expert is called, with no rows if no token chose it, and its layers carry ``routed`` while it runs, so that
    hooks on a layer know which tokens its input rows belong to.
    """

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Return (tokens, width) from hidden_states (tokens, width), top_k_index and top_k_weights (tokens, k)."""
        total = torch.zeros_like(hidden_states)
        experts: list[Any] = list(self)
        for number, expert in enumerate(experts):
            token, rank = torch.where(top_k_index == number)
            expert.route(Routed(token, len(hidden_states)))
            output = expert(hidden_states[token]) * top_k_weights[token, rank, None]
            total.index_add_(0, token, output.to(total.dtype))
        return total


def unpack_experts(module: nn.Module, matrices: tuple[Matrix, ...]) -> None:
    """Replace, in place, the packed experts that ``matrices`` name one by one, and those that share their weights."""
    owners = {match["owner"]: None for matrix in matrices if (match := EXPERT.match(matrix.name))}
    for owner in owners:
        try:
            packed: Any = module.get_submodule(owner)
        except AttributeError:
            raise ModelProblem(
                f"config.json and the weights name experts at {owner}, which {type(module).__name__} does not have; "
                "a model of this layout can't be read."
            ) from None
        if not hasattr(packed, "gate_up_proj"):
            continue
        gate_up, down = packed.gate_up_proj.data, packed.down_proj.data
        experts = Experts(Expert(*halves(both), last, packed.act_fn) for both, last in zip(gate_up, down, strict=True))
        for name, other in list(module.named_modules()):
            if getattr(other, "gate_up_proj", None) is packed.gate_up_proj:
                parent, _, last = name.rpartition(".")
                setattr(module.get_submodule(parent), last, experts if other is packed else _sharing(experts))


def pack_experts(state: dict[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Return a state with the experts in the packed tensors of ``names`` again.

    Those of modules that share them are left out. Where they still lie as they were unpacked, memory is shared.
    """
    packed = [match for name in names if (match := PACKED.match(name))]
    shared: set[int] = set()
    result = dict(state)
    for match in packed:
        kinds = ("gate_proj", "up_proj") if match["name"] == "gate_up_proj" else ("down_proj",)
        each = []
        while f"{match['owner']}.{len(each) // len(kinds)}.{kinds[0]}.weight" in state:
            number = len(each) // len(kinds)
            each += [state[f"{match['owner']}.{number}.{kind}.weight"] for kind in kinds]
        shared |= {value.data_ptr() for value in each}
        result[match[0]] = _joined(each, len(kinds))
    return {
        name: value
        for name, value in result.items()
        if not EXPERT.match(name.removesuffix(".weight")) or value.data_ptr() not in shared
    }


def _joined(each: list[Tensor], parts: int) -> Tensor:
    """Join (outputs, inputs) matrices, ``parts`` of every expert, to (experts, parts * outputs, inputs)."""
    first = each[0]
    size, start = first.numel(), first.storage_offset()
    shape = (len(each) // parts, parts * first.shape[0], first.shape[1])
    memory = first.untyped_storage().data_ptr()
    if all(
        value.untyped_storage().data_ptr() == memory
        and value.is_contiguous()
        and value.storage_offset() == start + owner * size
        for owner, value in enumerate(each)
    ):
        return first.as_strided(shape, (parts * size, first.shape[1], 1), start)
    return torch.stack(each).reshape(shape)


def _sharing(experts: Experts) -> Experts:
    """Return other modules over the same parameters, for a part of the model that is tied to this one."""
    twins = Experts()
    every: list[Any] = list(experts)
    for expert in every:
        weights = (expert.gate_proj.weight, expert.up_proj.weight, expert.down_proj.weight)
        twin = Expert(*weights, expert.act_fn)
        layers: tuple[Any, ...] = (twin.gate_proj, twin.up_proj, twin.down_proj)
        for layer, weight in zip(layers, weights, strict=True):
            layer.weight = weight
        twins.append(twin)
    return twins


def _linear(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer


def halves(both: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and the second half of the rows."""
    first, second = both.chunk(2)
    return first, second
