"""Check statistics and scores for NaN and infinity before they decide anything."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import OperationFailed


def check_finite(values: Tensor, what: str, name: str) -> Tensor:
    """Return ``values`` after checking that all of them are finite.

    Args:
        values: A statistic or score.
        what: What they are, for the error: "the calibration statistic".
        name: Name of the matrix.
    """
    if not bool(torch.isfinite(values).all()):
        raise OperationFailed(
            f"{what} of {name} is not finite (NaN or infinity): the model's activations are not on these texts, as "
            "when every token is masked in a model that divides by the unmasked ones. Nothing was pruned; use other "
            "texts, fewer noise levels, or a wider dtype."
        )
    return values
