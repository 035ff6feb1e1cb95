"""The rows' log-sum-exp, which torch's flash attention computes internally and does not return."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor


class _Nothing(AbstractContextManager):
    def __exit__(self, *_: object) -> None:
        return None


try:
    from torch.utils._python_dispatch import TorchDispatchMode

    _Mode: Any = TorchDispatchMode
except ImportError:  # another torch: nothing is kept, and the log-sum-exp is computed
    _Mode = _Nothing


# Kernels whose second result is the natural log-sum-exp of the scaled logits, (batch, heads, S) float32.
_LEAVES_IT = (
    "aten::_scaled_dot_product_flash_attention",
    "aten::_scaled_dot_product_flash_attention_for_cpu",
)


class keeping_log_sum_exp(_Mode):
    """While open, keep the log-sum-exp of the last flash attention.

    The calls themselves are unchanged, by whichever kernel torch chooses; another kernel provides none.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kept: Tensor | None = None

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function.name() in _LEAVES_IT:
            self._kept = result[1]
        return result

    def of(self, query: Tensor) -> Tensor | None:
        """Return the log-sum-exp of the rows of ``query`` (batch, heads, S, head_dim), or None."""
        kept = self._kept
        if kept is None or kept.shape != query.shape[:3] or kept.dtype != torch.float32:
            return None
        return kept
