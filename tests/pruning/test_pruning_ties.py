"""Rows pruned by rank equal rows pruned by a stable sort, equal scores included."""

from __future__ import annotations

import pytest
import torch

from sap_core.pruning.masks import lowest_of_rows


@pytest.mark.parametrize("levels", [1, 4, 1000])
@pytest.mark.parametrize("count", [0, 1, 17, 40])
def test_by_rank_as_by_a_stable_sort(levels, count):
    scores = torch.randint(levels, (30, 40), generator=torch.Generator().manual_seed(0)).float()
    order = torch.sort(scores, dim=1, stable=True).indices[:, :count]
    expected = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, order, True)
    assert torch.equal(lowest_of_rows(scores, count), expected)
