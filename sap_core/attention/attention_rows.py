"""Attention rows in chunks: the softmax of a model's attention, computed for a few heads and queries at a time.

A chunk lives in buffers that are reused for the next chunk and the next layer. Fresh memory for every chunk would cost
more than the arithmetic: measured on a CPU, a 2 MB matrix product into new memory takes twice as long as into a buffer.
For the same reason rows are left unnormalised: whoever sums them multiplies the weights by 1 / total.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

BLOCKED = -1e30  # logit of a key that a query can't see: exp gives exactly 0, and 0 * BLOCKED is not NaN
CPU_NUMBERS = 2**19  # per buffer: 2 MiB in float32; larger ones fall out of the cache
GPU_NUMBERS = 2**24  # per buffer: 64 MiB; small ones leave the device idle


@dataclass(frozen=True)
class Attention:
    """The inputs of one layer's attention.

    Attributes:
        query: (batch, heads, S, head_dim).
        key: (batch, key-value heads, S, head_dim); heads is a multiple of key-value heads.
        scale: factor on the logits.
        mask: None, bool (True = visible) or additive float, broadcastable to (batch, heads, S, S).
        causal: no mask is given and a query sees only itself and what is before it.
        softcap: logits become softcap * tanh(logits / softcap), or None.
        lse: (batch, heads, S) float32, each row's log of the sum of exp(logits), where the model's own kernel left it.
        rows: (batch, heads, S, S), the rows themselves, where the model computed them; query and key are then empty.
    """

    query: Float[Tensor, "batch heads queries width"]
    key: Float[Tensor, "batch kv_heads keys width"]
    scale: float
    mask: Shaped[Tensor, " ..."] | None = None
    causal: bool = False
    softcap: float | None = None
    lse: Float[Tensor, "batch heads queries"] | None = None
    rows: Float[Tensor, "batch heads queries keys"] | None = None


def of_rows(rows: Float[Tensor, "batch heads queries keys"]) -> Attention:
    """Return the `Attention` of rows that the model computed itself, (batch, heads, S, S)."""
    nothing = rows.new_empty(*rows.shape[:3], 0)
    return Attention(nothing, nothing, 1.0, rows=rows.detach())


@dataclass(frozen=True)
class Piece:
    """Softmax rows of n key-value heads (all their query heads) and c queries.

    The caller may overwrite the arrays, and must not keep them: the next chunk is written into the same memory.

    Attributes:
        heads: slice into batch * key-value heads, batch outermost.
        queries: slice into the S positions, with the step at which queries are sampled.
        shifted: (n, groups, c, K), logits minus their row's largest. K <= S: keys beyond are invisible.
        exponentials: (n, groups, c, K), exp(shifted).
        totals: (n, groups, c), sums of ``exponentials``; A[i, j] = exponentials / totals, in 1..S.
    """

    heads: slice
    queries: slice
    shifted: Float[Tensor, "kv_heads groups queries keys"]
    exponentials: Float[Tensor, "kv_heads groups queries keys"]
    totals: Float[Tensor, "kv_heads groups queries"]


class Buffers:
    """Reusable memory by name; one per recorder."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, torch.device], Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """Return a float32 tensor of ``shape`` with undefined content.

        The earlier tensor of this name is overwritten.
        """
        numbers = math.prod(shape)
        held = self._held.get((name, device))
        if held is None or held.numel() < numbers:
            held = self._held[name, device] = torch.empty(numbers, device=device)
        return held[:numbers].view(shape)


def sampled(size: int, stride: int) -> slice:
    """Return a slice of every ``stride``-th of ``size`` positions, from the middle of the first ``stride``."""
    return slice(min(stride // 2, size - 1), size, stride)


def attention_rows(
    inputs: Attention, chunk: int = 128, buffers: Buffers | None = None, stride: int = 1
) -> Iterator[Piece]:
    """Yield all rows of one layer (or those of the `sampled` queries) in chunks, queries in order; float32.

    Memory: float32 copies of query and key, and two chunks of at most max(`CPU_NUMBERS`, groups * chunk * S) numbers:
    it grows with S, not S^2.
    """
    if inputs.rows is not None:
        yield from _given_rows(inputs.rows, chunk, stride)
        return
    buffers = buffers or Buffers()
    batch, heads, size, width = inputs.query.shape
    kv = inputs.key.shape[1]
    groups = heads // kv
    device = inputs.query.device
    picked = sampled(size, stride)
    positions = range(*picked.indices(size))
    query = buffers.take("query", (batch, heads, len(positions), width), device)
    key = buffers.take("key", (batch, kv, size, width), device)
    torch.mul(query.copy_(inputs.query[:, :, picked]), inputs.scale, out=query)
    query = query.view(batch * kv, groups, len(positions), width)
    key = key.copy_(inputs.key).view(batch * kv, size, width).transpose(1, 2)
    chunk = min(chunk, len(positions))
    budget = CPU_NUMBERS if device.type == "cpu" else GPU_NUMBERS
    together = max(1, min(budget // (groups * chunk * size), batch * kv))
    for first in range(0, batch * kv, together):
        n = min(together, batch * kv - first)
        for start in range(0, len(positions), chunk):
            here = positions[start : start + chunk]
            count, queries = len(here), slice(here[0], here[-1] + 1, stride)
            keys = queries.stop if inputs.causal else size
            part = query[first : first + n, :, start : start + count].reshape(n, groups * count, width)
            shifted = buffers.take("shifted", (n, groups * count, keys), device)
            torch.bmm(part, key[first : first + n, :, :keys], out=shifted)
            shifted = shifted.view(n, groups, count, keys)
            _restrict(shifted, inputs, first, queries, kv)
            shifted -= shifted.amax(-1, keepdim=True)
            exponentials = torch.exp(shifted, out=buffers.take("exponentials", (n, groups, count, keys), device))
            yield Piece(slice(first, first + n), queries, shifted, exponentials, exponentials.sum(-1))


def _given_rows(rows: Tensor, chunk: int, stride: int) -> Iterator[Piece]:
    """Yield rows that exist already, one head at a time."""
    batch, heads, size, _ = rows.shape
    positions = range(*sampled(size, stride).indices(size))
    for index in range(batch * heads):
        for start in range(0, len(positions), chunk):
            here = positions[start : start + chunk]
            queries = slice(here[0], here[-1] + 1, stride)
            part = rows[index // heads, index % heads, queries].to(torch.float32, copy=True)[None, None]
            shifted = part.log().clamp_(min=BLOCKED)
            yield Piece(slice(index, index + 1), queries, shifted, part, part.sum(-1))


def _restrict(logits: Tensor, inputs: Attention, first: int, queries: slice, kv: int) -> None:
    """Apply soft cap, causality and mask in place. ``logits``: (n, groups, c, K)."""
    if inputs.softcap is not None:
        logits.div_(inputs.softcap).tanh_().mul_(inputs.softcap)
    if inputs.causal:
        position = torch.arange(queries.start, queries.stop, device=logits.device)
        later = position > position[:: queries.step, None]
        logits[..., queries.start :].masked_fill_(later, BLOCKED)
    if inputs.mask is None:
        return
    n, groups = logits.shape[:2]
    mask = inputs.mask
    index = torch.arange(first, first + n, device=mask.device)
    batch = index // kv if mask.shape[0] > 1 else torch.zeros_like(index)
    if mask.shape[1] == 1:
        part = mask[batch, :, queries]
    else:
        columns = (index % kv)[:, None] * groups + torch.arange(groups, device=mask.device)
        part = mask[batch[:, None], columns, queries]
    if part.dtype == torch.bool:
        logits.masked_fill_(~part, BLOCKED)
    else:
        logits.add_(part).clamp_(min=BLOCKED)
