"""The blocks of a canvas: the block and the number of steps in which each position is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from .canvas import Canvas
from .check import Sampling, share_steps

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel


class Blocks:
    """The block in which each position is written, and the steps of each block.

    Attributes:
        numbers: (batch, sequence), the block in which a position is written.
        shares: Number of every block that has masks -> its steps.
        total: Steps planned.
    """

    def __init__(self, model: LoadedModel, canvas: Canvas, sampling: Sampling) -> None:
        info = model.info
        self._own = info.block_size
        self._mask = model.check_masked()
        self._shifted = info.shift_logits
        from_first = self._own is not None and not info.row.answer_starts_block
        self.numbers = block_numbers(canvas, sampling.block_length, aligned=from_first)
        self._columns = torch.arange(canvas.tokens.shape[1], device=canvas.tokens.device)
        self._alike = from_first or len(set(canvas.prompt_lengths)) == 1
        self._start = 0 if from_first else canvas.prompt_lengths[0]
        sizes = block_sizes(self.numbers, canvas.tokens == self._mask)
        self.shares = dict(zip(sizes, share_steps(list(sizes.values()), sampling.steps), strict=True))
        self._ratio = 1 if self._own is None else self._own // sampling.block_length
        extra = 0 if self._own is None else sum(self.first_token(canvas.tokens, block) is not None for block in sizes)
        self.total = sum(self.shares.values()) + extra

    def columns(self, block: int) -> tuple[int, int]:
        """Return the first column of a block and the one behind its last; the same in every text."""
        inside = ((self.numbers[0] == block) & (self._columns >= self._start)).nonzero()[:, 0]
        return int(inside[0]), int(inside[-1]) + 1

    def window(self, block: int) -> Tensor | None:
        """Return the columns of the model's own block that contains ``block``; None if the whole canvas is computed."""
        if self._own is None or not self._alike:
            return None
        own = (self._columns - self._start).div(self._own, rounding_mode="floor")
        return own == block // self._ratio

    def first_token(self, tokens: Tensor, block: int) -> Tensor | None:
        """Return (batch, sequence) bool: the masked first tokens of the model's own block that begins with ``block``.

        None if they need no step of their own: rows predict their own token, or the block begins the text.
        """
        if self._own is None or not self._shifted or block % self._ratio or block == 0:
            return None
        first = (self.numbers == block) & (self.numbers.roll(1, 1) != block) & (tokens == self._mask)
        return first if first.any() else None


def block_numbers(canvas: Canvas, block_length: int, *, aligned: bool) -> Int[Tensor, "batch sequence"]:
    """Return (batch, sequence): the block in which each position is written.

    Counted from the end of each prompt, masks inside a prompt being of block 0; ``aligned``: from the first column, as
    block-causal models see them.
    """
    columns = torch.arange(canvas.tokens.shape[1], device=canvas.tokens.device)
    if aligned:
        return (columns // block_length).expand(canvas.tokens.shape)
    lengths = torch.tensor(canvas.prompt_lengths, device=columns.device)[:, None]
    return (columns - lengths).clamp(min=0) // block_length


def block_sizes(blocks: Int[Tensor, "batch sequence"], masked: Bool[Tensor, "batch sequence"]) -> dict[int, int]:
    """Return the number of tokens to write in each block that has any, of the canvas that has most, in order."""
    numbers = blocks[masked].unique().tolist()
    return {number: int((masked & (blocks == number)).sum(1).max()) for number in numbers}
