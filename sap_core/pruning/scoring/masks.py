"""Choose the weights to remove by their scores: per row, per matrix, or N of every M consecutive inputs."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...choices.patterns import Pattern


def lowest(score: Float[Tensor, "out in"], zeros: int, pattern: Pattern, compare: str) -> Bool[Tensor, "out in"]:
    """Return the mask of the removed weights, bool [out, in].

    Args:
        score: [out, in]; the lowest are removed.
        zeros: Number of weights to remove; N:M removes what the pattern says.
        pattern: The pattern of the mask.
        compare: Whether weights compete within their "row" or within the "matrix".
    """
    if pattern.structured:
        return lowest_of_groups(score, pattern.n, pattern.m)
    if zeros == 0:
        return torch.zeros_like(score, dtype=torch.bool)
    if compare == "matrix":
        return lowest_of_matrix(score, zeros)
    return lowest_of_rows(score, *divmod(zeros, len(score)))


def lowest_of_rows(score: Float[Tensor, "out in"], count: int, more: int = 0) -> Bool[Tensor, "out in"]:
    """Return the mask of the ``count`` lowest of each row, plus one in the ``more`` rows where the next one is lowest.

    Among equals the first are removed (stable), as in Wanda's code.
    """
    if count and not more:
        return _up_to_rank(score, count)
    order = torch.sort(score, dim=1, stable=True).indices
    mask = torch.zeros_like(score, dtype=torch.bool).scatter_(1, order[:, :count], True)
    if more:
        following = order[:, count : count + 1]
        rows = score.gather(1, following)[:, 0].argsort(stable=True)[:more]
        mask[rows, following[rows, 0]] = True
    return mask


def _up_to_rank(score: Tensor, count: int) -> Tensor:
    """Return the mask of the ``count`` lowest of each row without sorting it, which takes a third of the time.

    Equal scores at the threshold are told apart by their position.
    """
    edge = torch.kthvalue(score, count, dim=1, keepdim=True).values
    mask = score <= edge
    tied = (mask.sum(1) > count).nonzero()[:, 0]
    if len(tied):
        below, equal = score[tied] < edge[tied], score[tied] == edge[tied]
        mask[tied] = below | (equal & (equal.cumsum(1) <= count - below.sum(1, keepdim=True)))
    return mask


def lowest_of_matrix(score: Float[Tensor, "out in"], count: int) -> Bool[Tensor, "out in"]:
    """Return the mask of everything up to and including the score at rank ``count``.

    Equal scores are removed together, as in the published code, so a few more than ``count`` can be removed.
    """
    return score <= torch.kthvalue(score.flatten(), count).values


def lowest_of_groups(score: Float[Tensor, "out in"], n: int, m: int) -> Bool[Tensor, "out in"]:
    """Return the mask of the ``n`` lowest of every ``m`` consecutive inputs; among equals the first are removed.

    All groups are handled at once: a score's rank is the number of its group's scores before it, counted by m * (m - 1)
    comparisons of whole matrices.
    """
    parts = [score[:, i::m].contiguous() for i in range(m)]
    mask = torch.empty_like(score, dtype=torch.bool)
    for i, own in enumerate(parts):
        rank = torch.zeros_like(own, dtype=torch.int16)
        for j, other in enumerate(parts):
            if j != i:
                rank += other <= own if j < i else other < own
        mask[:, i::m] = rank < n
    return mask
