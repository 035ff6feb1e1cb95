"""The result of a sampler after every step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Bool, Float, Int
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
    tokens: Int[Tensor, "batch sequence"]
    masked: Bool[Tensor, "batch sequence"]
    confidence: Float[Tensor, "batch sequence"]
    accepted: Bool[Tensor, "batch sequence"]
    next_tokens: Int[Tensor, "batch sequence"]
    memory: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SamplerState:
    """Where a sampler continues: the number of the next step, the canvas, and the last step's ``memory``."""

    index: int
    tokens: Int[Tensor, "batch sequence"]
    memory: dict[str, Any]
