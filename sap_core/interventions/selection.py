"""Which positions are blocked for each head: its sinks, and the controls without which their effect says nothing.

METRICS section 9. ``sinks``: the k positions that receive most attention. ``random``: as many other positions, drawn.
``mass``: other positions in the same random order, until together they receive as much attention as the sinks did (or
until none is left). If removing the sinks costs no more than removing as much attention that lies elsewhere, the cost
is that of losing attention, not of losing sinks (compare arXiv 2605.09313).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..choices.sink_rules import SinkRule
from ..sinks.rules import find_sinks

SINKS, RANDOM, MASS = KINDS = ("sinks", "random", "mass")


@dataclass(frozen=True)
class Choice:
    """What is blocked: a kind of `KINDS`, and of how many sinks of each head; ``head``: in one (layer, head) alone."""

    kind: str
    top: int
    head: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """A short name, that a file may have."""
        return f"{self.kind}-{self.top}" + ("" if self.head is None else f"-{self.head[0]}.{self.head[1]}")


def blocked_positions(
    received: Float[Tensor, "batch layer head position"],
    valid: Bool[Tensor, "batch position"],
    choice: Choice,
    order: Float[Tensor, "batch layer head position"],
    *,
    rule: SinkRule | None = None,
    visible: Int[Tensor, "batch position"] | None = None,
) -> Bool[Tensor, "batch layer head position"]:
    """Return the positions that are blocked; at most half of the valid ones, so that the controls have as many others.

    Args:
        received: Attention received, mean over the valid queries.
        valid: Which positions hold tokens.
        choice: What is blocked.
        order: Random numbers; their order is the order in which controls take positions, so that controls of more
            positions contain those of fewer.
        rule: Only positions that it calls sinks, at most ``choice.top`` of them; None: the ``choice.top`` strongest.
        visible: How many queries can see each position, for the rule; default: all valid ones.
    """
    there = valid[:, None, None]
    strongest = received.masked_fill(~there, -1.0)
    if rule is not None:
        queries = valid.sum(1)
        seen = (queries[:, None] * valid if visible is None else visible)[:, None, None]
        judged = find_sinks(received.numpy(), rule, visible=seen.numpy(), queries=queries[:, None, None].numpy())
        strongest = strongest.masked_fill(~torch.from_numpy(judged), -1.0)
    most = (valid.sum(1) // 2).clamp(max=choice.top)[:, None, None, None]
    sinks = (_ranks(-strongest) < most) & (strongest > 0)
    if choice.kind == SINKS:
        return sinks
    others = there & ~sinks
    ranks = _ranks(order.masked_fill(~others, torch.inf))
    if choice.kind == RANDOM:
        return others & (ranks < sinks.sum(-1, keepdim=True))
    mass = (received * sinks).sum(-1, keepdim=True)
    by_rank = ranks.argsort(-1)
    amounts = (received * others).gather(-1, by_rank)
    before = (amounts.cumsum(-1) - amounts).gather(-1, ranks)
    return others & (before < mass)


def _ranks(values: Float[Tensor, "*head position"]) -> Int[Tensor, "*head position"]:
    """Return the place of each value in increasing order, equal ones by position."""
    return values.argsort(dim=-1, stable=True).argsort(dim=-1)
