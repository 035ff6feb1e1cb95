"""Rows pruned by rank equal rows pruned by a stable sort, equal scores included."""

from __future__ import annotations

import pytest
import torch

from sap_core.pruning.scoring.masks import lowest_of_groups, lowest_of_rows


@pytest.mark.parametrize("levels", [1, 4, 1000])
@pytest.mark.parametrize("count", [0, 1, 17, 40])
def test_by_rank_as_by_a_stable_sort(levels, count):
    scores = torch.randint(levels, (30, 40), generator=torch.Generator().manual_seed(0)).float()
    order = torch.sort(scores, dim=1, stable=True).indices[:, :count]
    expected = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, order, True)
    assert torch.equal(lowest_of_rows(scores, count), expected)


@pytest.mark.parametrize(("n", "m"), [(2, 4), (4, 8), (1, 3)])
def test_groups_as_by_a_stable_sort_of_each(n, m):
    scores = torch.randint(5, (10, 24), generator=torch.Generator().manual_seed(1)).float()
    order = torch.sort(scores.view(10, -1, m), dim=-1, stable=True).indices[..., :n]
    expected = torch.zeros(10, 24 // m, m, dtype=torch.bool).scatter_(-1, order, True).view(10, 24)
    assert torch.equal(lowest_of_groups(scores, n, m), expected)
