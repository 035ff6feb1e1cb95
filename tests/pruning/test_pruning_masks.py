"""Which weights go: exact counts, stable ties, N of every M."""

from __future__ import annotations

import pytest
import torch

from sap_core.choices.patterns import parse_pattern
from sap_core.pruning.scoring.masks import (
    lowest,
    lowest_of_groups,
    lowest_of_matrix,
    lowest_of_rows,
)


def test_rows_lose_their_lowest_and_the_first_among_equals():
    score = torch.tensor([[3.0, 1.0, 2.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    mask = lowest_of_rows(score, 2)
    assert mask.tolist() == [[False, True, False, True, False], [True, True, False, False, False]]


def test_a_matrix_loses_everything_up_to_the_rank():
    score = torch.arange(12.0).reshape(3, 4)
    assert lowest_of_matrix(score, 5).flatten().tolist() == [True] * 5 + [False] * 7


@pytest.mark.parametrize(("n", "m"), [(2, 4), (4, 8), (1, 4), (3, 4), (1, 2)])
def test_every_group_loses_exactly_n_and_they_are_its_lowest(n, m):
    score = torch.rand(7, 6 * m, generator=torch.Generator().manual_seed(0))
    mask = lowest_of_groups(score, n, m)
    groups, gone = score.reshape(7, 6, m), mask.reshape(7, 6, m)
    assert (gone.sum(-1) == n).all()
    highest_gone = groups.masked_fill(~gone, -1).amax(-1)
    lowest_kept = groups.masked_fill(gone, 2).amin(-1)
    assert (highest_gone < lowest_kept).all()


def test_nothing_goes_at_sparsity_zero():
    assert not lowest(torch.rand(4, 8), 0, parse_pattern("unstructured"), "matrix").any()
