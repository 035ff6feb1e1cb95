"""From scores to the weights that go: per row, per matrix, or N of every M consecutive inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from ...choices.patterns import Pattern


def lowest(score: Tensor, zeros: int, pattern: Pattern, compare: str) -> Tensor:
    """bool [out, in], True where a weight goes.

    ``zeros``: weights to remove in all (N:M removes what the pattern says). ``compare``: weights compete within their
    "row" or within the "matrix".
    """
    if pattern.structured:
        return lowest_of_groups(score, pattern.n, pattern.m)
    if zeros == 0:
        return torch.zeros_like(score, dtype=torch.bool)
    if compare == "matrix":
        return lowest_of_matrix(score, zeros)
    return lowest_of_rows(score, *divmod(zeros, len(score)))


def lowest_of_rows(score: Tensor, count: int, more: int = 0) -> Tensor:
    """Return the ``count`` lowest of each row, one more in the ``more`` rows in which the next costs least.

    Among equals the first go (stable), as in Wanda's code.
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
    """Return the ``count`` lowest of each row without sorting it, which takes a third of the time; equal scores at
    the edge are told apart by their place."""
    edge = torch.kthvalue(score, count, dim=1, keepdim=True).values
    mask = score <= edge
    tied = (mask.sum(1) > count).nonzero()[:, 0]
    if len(tied):
        below, equal = score[tied] < edge[tied], score[tied] == edge[tied]
        mask[tied] = below | (equal & (equal.cumsum(1) <= count - below.sum(1, keepdim=True)))
    return mask


def lowest_of_matrix(score: Tensor, count: int) -> Tensor:
    """Everything up to and including the score at rank ``count``: equal scores go together, as in the published
    code, so a few more than ``count`` can go."""
    return score <= torch.kthvalue(score.flatten(), count).values


def lowest_of_groups(score: Tensor, n: int, m: int) -> Tensor:
    """Return the ``n`` lowest of every ``m`` consecutive inputs; among equals the first go. All groups at once: a
    score's rank is the number of its group's scores before it, counted by m * (m - 1) comparisons of whole matrices."""
    places = [score[:, i::m].contiguous() for i in range(m)]
    mask = torch.empty_like(score, dtype=torch.bool)
    for i, own in enumerate(places):
        rank = torch.zeros_like(own, dtype=torch.int16)
        for j, other in enumerate(places):
            if j != i:
                rank += other <= own if j < i else other < own
        mask[:, i::m] = rank < n
    return mask
