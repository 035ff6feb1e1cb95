"""Place the attention of a part of a text among all its positions: a decoder sees a canvas and what came before."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .attention_rows import Attention


def placed(inputs: Attention, start: int, total: int, first: int | None = None) -> Attention:
    """Return the same attention with queries and keys at their positions among ``total``.

    The n queries stand at ``start`` to start + n; the keys end where the queries end and are the last of what came
    before (a sliding layer keeps fewer), unless ``first`` is where the first key is.
    Positions without a key are invisible; those without a query have rows that mean
    nothing and must not count.
    """
    end = start + inputs.query.shape[2]
    first = end - inputs.key.shape[2] if first is None else first
    last = first + inputs.key.shape[2]

    def spread(values: Tensor, at: int) -> Tensor:
        whole = values.new_zeros(*values.shape[:2], total, values.shape[3])
        whole[:, :, at : at + values.shape[2]] = values
        return whole

    given = inputs.mask
    shape = (1, 1) if given is None else given.shape[:2]
    if given is None or given.dtype == torch.bool:
        mask = torch.zeros(*shape, total, total, dtype=torch.bool, device=inputs.query.device)
        mask[..., start:end, first:last] = True if given is None else given
    else:
        mask = given.new_full((*shape, total, total), torch.finfo(given.dtype).min)
        mask[..., start:end, first:last] = given
    query, key = spread(inputs.query, start), spread(inputs.key, first)
    return replace(inputs, query=query, key=key, mask=mask, causal=False, lse=None)
