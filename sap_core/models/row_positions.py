"""Positions of tokens, and the token that a row of logits predicts."""

from __future__ import annotations

import torch
from torch import Tensor


def shift_back(logits: Tensor) -> Tensor:
    """Return logits (batch, sequence, vocabulary) whose row i predicts token i, from logits that predict token i + 1.

    Row 0 is unchanged, as in Dream's own code.
    """
    return torch.cat([logits[:, :1], logits[:, :-1]], dim=1)


def positions(attention_mask: Tensor) -> Tensor:
    """Return position ids that count valid tokens only, so that padding shifts nothing; int64, same shape."""
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
