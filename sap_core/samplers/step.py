"""The result of a sampler after every step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Step:
    """One step of generation; tensors of shape (batch, sequence) on the model's device.

    Attributes:
        index: Number of the step, from 0.
        total: Steps planned; an autoregressive run may end earlier, when every text has ended.
        tokens: What the forward pass of this step saw.
        masked: Positions that were not written yet when the step began.
        confidence: What the sampler ranked by (for most rules the probability of the predicted token); NaN where
            nothing was predicted.
        accepted: Positions written at this step.
        next_tokens: The canvas after the step.
        memory: What the sampler needs besides the canvas and its random numbers to go on after this step: numbers,
            lists of them, and tensors.
    """

    index: int
    total: int
    tokens: Tensor
    masked: Tensor
    confidence: Tensor
    accepted: Tensor
    next_tokens: Tensor
    memory: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SamplerState:
    """Where a sampler goes on: the number of the next step, the canvas, and the last step's ``memory``."""

    index: int
    tokens: Tensor
    memory: dict[str, Any]
