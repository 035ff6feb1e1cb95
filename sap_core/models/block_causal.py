"""Block-causal models: each block of tokens attends to itself and to all blocks before it.

Finished blocks never change, so while a canvas is denoised their keys and values are cached, and a step computes one
block alone. While attention is recorded every step computes the whole canvas: the same numbers up to rounding, since
matrices of another size are multiplied, and all rows to be recorded.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import required
from .loaded import LoadedModel
from .row_positions import positions


class BlockCausalModel(LoadedModel):
    """A `LoadedModel` with ``info.block_size`` tokens per block.

    Blocks count from a text's first token, or, where the family's answers start a block, from ``answers_at``: as if the
    prompt were padded on the left to whole blocks, which are neither seen nor counted.
    """

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Return the logits (batch, sequence, vocabulary), with a block-causal mask."""
        valid = torch.ones_like(input_ids) if attention_mask is None else attention_mask.to(self.device)
        where = positions(valid)
        blocks = self._blocks(where)
        mask = additive(blocks, blocks, valid, self.dtype)
        return self.module(input_ids=input_ids, attention_mask=mask, position_ids=where, use_cache=False).logits

    def _blocks(self, where: Tensor) -> Tensor:
        """Return the block number of every position (batch, sequence); negative ones before the answer."""
        if self.answers_at is not None and self.info.row.answer_starts_block:
            where = where - self.answers_at.to(where.device)[:, None]
        return where.div(required(self.info.block_size, "block_size"), rounding_mode="floor")

    @torch.no_grad()
    def span_logits(
        self, tokens: Tensor, span: Tensor | None, memory: dict[str, Any], *, observed: bool = True
    ) -> Tensor:
        """Return `LoadedModel.span_logits`, computing only the blocks that are not cached."""
        if span is None or self.recorded:
            return super().span_logits(tokens, span, memory, observed=observed)
        columns = span.nonzero()[:, 0]
        start, end = int(columns[0]), int(columns[-1]) + 1
        seen = memory.get("seen", 0)
        if seen < start:
            memory["before"] = self._extend(tokens, seen, start, memory)[:, -1:].float()
            memory["seen"] = start
        logits = self._extend(tokens, start, end, memory).float()
        memory["cache"].crop(start - end)
        if not self.info.shift_logits:
            return logits
        # The first token of a block is predicted by the last row of the block before it.
        return torch.cat([memory.get("before", logits[:, :1]), logits[:, :-1]], 1)

    def _extend(self, tokens: Tensor, start: int, end: int, memory: dict[str, Any]) -> Tensor:
        """Return the logits of columns start to end, and add their keys and values to the cache.

        The columns must be whole blocks.
        """
        from transformers import DynamicCache

        cache = memory.setdefault("cache", DynamicCache(config=self.module.config))
        where = torch.arange(end, device=self.device).expand(len(tokens), -1)
        blocks = self._blocks(where)
        mask = additive(blocks[:, start:], blocks, torch.ones_like(blocks), self.dtype)
        return self.module(
            input_ids=tokens[:, start:end].to(self.device),
            attention_mask=mask,
            position_ids=where[:, start:],
            past_key_values=cache,
            use_cache=True,
        ).logits


def additive(query_blocks: Tensor, key_blocks: Tensor, valid: Tensor, dtype: torch.dtype) -> Tensor:
    """Return an additive mask (batch, 1, queries, keys): 0 where a query sees a key, the lowest number elsewhere.

    It is a float mask, because eager attention silently miscomputes a bool one. A query of the padding sees the
    padding, so that no row is empty.

    Args:
        query_blocks: (batch, queries), block of each query.
        key_blocks: (batch, keys), block of each key.
        valid: (batch, keys), 0 at padding.
        dtype: Of the mask.
    """
    seen = key_blocks[:, None, :] <= query_blocks[:, :, None]
    padding = valid == 0
    seen &= ~padding[:, None, :] | padding[:, -query_blocks.shape[1] :, None]
    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return mask.masked_fill(~seen, torch.finfo(dtype).min)[:, None]
