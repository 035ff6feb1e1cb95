"""SparseGPT's solver works in the place of its Hessian and leaves it as it was."""

from __future__ import annotations

import pytest
import torch

from sap_core.choices.patterns import parse_pattern
from sap_core.errors import OperationFailed
from sap_core.pruning.scoring.sparsegpt import DAMPING, _inverse_factor, solve


@pytest.fixture
def hessian():
    """Positive definite, [6, 6], with one input that is never active."""
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    x[:, 2] = 0
    return x.T @ x / 20


def test_the_factor_is_that_of_the_damped_inverse_and_the_hessian_stays(hessian):
    before, dead = hessian.clone(), hessian.diagonal() == 0
    factor = _inverse_factor(hessian)
    assert torch.equal(hessian, before)
    damped = before.double()
    damped.diagonal()[dead] = 1
    damped.diagonal().add_(DAMPING * damped.diagonal().mean())
    assert torch.equal(factor, factor.triu())
    torch.testing.assert_close((factor.T @ factor).double(), torch.linalg.inv(damped), rtol=1e-4, atol=1e-5)


def test_twice_from_one_hessian_gives_the_same_weights(hessian):
    weight, pattern = torch.randn(4, 6, generator=torch.Generator().manual_seed(1)), parse_pattern("unstructured")
    assert torch.equal(solve(weight, hessian, 0.5, pattern), solve(weight, hessian, 0.5, pattern))


def test_a_hessian_without_a_factor_is_refused_and_stays(hessian):
    hessian[0, 1] = hessian[1, 0] = 100
    before = hessian.clone()
    with pytest.raises(OperationFailed, match="not positive definite"):
        solve(torch.ones(4, 6), hessian, 0.5, parse_pattern("unstructured"))
    assert torch.equal(hessian, before)
