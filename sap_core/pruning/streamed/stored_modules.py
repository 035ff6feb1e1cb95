"""An embedding and an output head that read their rows from disk."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .tensors import StoredWeights

_HEAD_ROWS = 8192  # of the output head in memory at once


class StoredRows(nn.Module):
    """An embedding that reads only the rows it needs from disk."""

    def __init__(self, weights: StoredWeights, key: str, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self._weights, self._key = weights, key
        self.weight = torch.empty(0, dtype=dtype, device=device)  # says where and in which precision, as others ask

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the embeddings of ``tokens`` [B, S], [B, S, width]."""
        numbers, inverse = torch.unique(tokens.cpu(), return_inverse=True)
        rows = self._weights.rows(self._key, numbers.tolist()).to(self.weight)
        return rows[inverse.to(rows.device)]


class StoredHead(nn.Module):
    """An output head that reads its rows from disk in parts."""

    def __init__(self, weights: StoredWeights, key: str) -> None:
        super().__init__()
        self._weights, self._key = weights, key

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the logits of ``hidden`` [..., width], [..., vocabulary]."""
        total = self._weights.places[self._key].tensor.shape[0]
        parts = []
        for first in range(0, total, _HEAD_ROWS):
            rows = self._weights.rows(self._key, range(first, min(first + _HEAD_ROWS, total)))
            parts.append(nn.functional.linear(hidden, rows.to(hidden)))
        return torch.cat(parts, -1)
