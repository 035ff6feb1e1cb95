"""Numbers that are not finite, named where they arise: one look at each statistic and score, before it decides."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import OperationFailed


def check_finite(values: Tensor, what: str, name: str) -> Tensor:
    """Return ``values`` where all of them are finite.

    Args:
        values: A statistic or score.
        what: What they are, for the error: "the calibration statistic".
        name: Of the matrix.

    Raises:
        OperationFailed: NaN or infinity among them.
    """
    if not bool(torch.isfinite(values).all()):
        raise OperationFailed(
            f"{what} of {name} is not finite (NaN or infinity): the model's activations are not on these texts, as "
            "when every token is masked in a model that divides by the unmasked ones. Nothing was pruned; use other "
            "texts, fewer noise levels, or a wider dtype."
        )
    return values
