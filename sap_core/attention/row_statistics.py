"""Reduce attention rows to the metrics of one layer, over all queries or over every prefix of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .attention_rows import (
    Attention,
    Buffers,
    attention_rows,
    sampled,
)


@dataclass(frozen=True)
class LayerStatistics:
    """Statistics of one layer with H query heads; float32, on the layer's device.

    Attributes:
        received: (batch, H, S); mean over the Q valid queries i of A[i, j]; sums to 1 over j.
        received_masked: (batch, H, S); the same sum over masked queries only, divided by Q.
        entropy: (batch, H) nats; mean over queries of -sum_j A[i, j] ln A[i, j].
        distance: (batch, H) positions; mean over queries of sum_j A[i, j] |i - j|.
    """

    received: Float[Tensor, "batch head position"]
    received_masked: Float[Tensor, "batch head position"]
    entropy: Float[Tensor, "batch head"]
    distance: Float[Tensor, "batch head"]


def layer_statistics(
    inputs: Attention,
    valid: Bool[Tensor, "batch position"],
    masked: Bool[Tensor, "batch position"],
    chunk: int = 128,
    buffers: Buffers | None = None,
    stride: int = 1,
) -> LayerStatistics:
    """Return the statistics of one layer.

    The distance needs no separate pass: left and right of a chunk's own queries |i - j| is linear in i and j, so two
    weighted column sums (weights 1 and i) give it; only the square block on the diagonal is multiplied out. Positions
    are counted from the chunk's first query, so that no large numbers cancel.

    Args:
        inputs: Queries and keys of the layer.
        valid: bool (batch, S); queries that count. A sample without any gets zeros.
        masked: bool (batch, S); queries whose token is still masked.
        chunk: Queries whose rows exist at the same time.
        buffers: Memory to reuse.
        stride: 1 uses all queries; n estimates the means from every n-th one, at about 1 / n of the time.
    """
    buffers = buffers or Buffers()
    batch, heads, size, _ = inputs.query.shape
    kv = inputs.key.shape[1]
    device = inputs.query.device
    groups = heads // kv
    position = torch.arange(size, device=device, dtype=torch.float32)
    used = torch.zeros_like(valid)
    used[:, sampled(size, stride)] = valid[:, sampled(size, stride)]
    share = used.float() / used.sum(1, keepdim=True).clamp(min=1)
    weights = torch.stack([share, share * masked], 1).repeat_interleave(kv, 0)  # (batch * kv, 2, S)
    sums = torch.zeros(batch * kv, groups, 2, size, device=device)
    entropy = torch.zeros(batch * kv, groups, device=device)
    distance = torch.zeros(batch * kv, groups, device=device)
    for part in attention_rows(inputs, chunk, buffers, stride):
        rows, (start, stop) = part.exponentials, (part.queries.start, part.queries.stop)
        n, _, count, keys = rows.shape
        away = position[:keys] - start
        weight = weights[part.heads, None, :, part.queries] / part.totals[:, :, None]  # (n, groups, 2, count)
        own = weight[:, :, 0]
        weight = torch.cat([weight, (own * away[part.queries])[:, :, None]], 2)
        columns = torch.bmm(weight.view(n * groups, 3, count), rows.view(n * groups, count, keys))
        columns = columns.view(n, groups, 3, keys)
        sums[part.heads, :, :, :keys] += columns[:, :, :2]
        offset = (position[part.queries, None] - position[start:stop]).abs()
        square = buffers.take("square", (n, groups, count, stop - start), device)
        near = (torch.mul(rows[..., start:stop], offset, out=square).sum(-1) * own).sum(-1)
        apart = columns[:, :, 2] - away * columns[:, :, 0]  # sum_i w_i A[i, j] (i - j)
        distance[part.heads] += near + apart[..., :start].sum(-1) - apart[..., stop:].sum(-1)
        # -sum_j A ln A = ln total - sum_j A * shifted
        surprise = torch.mul(part.shifted, rows, out=part.shifted).sum(-1)
        entropy[part.heads] += (own * (part.totals * part.totals.log() - surprise)).sum(-1)
    received, received_masked = sums.view(batch, heads, 2, size).unbind(2)
    return LayerStatistics(received, received_masked, entropy.view(batch, heads), distance.view(batch, heads))


@dataclass(frozen=True)
class PrefixStatistics:
    """Statistics of every prefix of a causal text: entry t is over its first ``first + t`` queries.

    received: (batch, T, H, S); entropy and distance: (batch, T, H). float32, on the CPU.
    """

    received: Float[Tensor, "batch prefix head position"]
    entropy: Float[Tensor, "batch prefix head"]
    distance: Float[Tensor, "batch prefix head"]


def prefix_statistics(
    inputs: Attention, first: int, chunk: int = 128, buffers: Buffers | None = None
) -> PrefixStatistics:
    """Return the statistics of all prefixes with ``first``, ``first + 1``, ..., S queries, in one pass over the text.

    A causal row does not change when the text grows, so what a prefix of m tokens receives is the mean of the first m
    rows. No padding.
    """
    batch, heads, size, _ = inputs.query.shape
    kv = inputs.key.shape[1]
    groups = heads // kv
    device = inputs.query.device
    position = torch.arange(size, device=device, dtype=torch.float32)
    length = torch.arange(first, size + 1, dtype=torch.float32)
    received = torch.zeros(batch * kv, groups, len(length), size)
    rows_entropy = torch.zeros(batch * kv, groups, size, device=device)
    rows_distance = torch.zeros(batch * kv, groups, size, device=device)
    carried = torch.zeros(0)
    for part in attention_rows(inputs, chunk, buffers):
        rows, (start, stop) = part.exponentials, (part.queries.start, part.queries.stop)
        rows /= part.totals[..., None]
        keys = rows.shape[-1]
        surprise = torch.mul(part.shifted, rows, out=part.shifted).sum(-1)
        rows_entropy[part.heads, :, start:stop] = part.totals.log() - surprise
        rows_distance[part.heads, :, start:stop] = position[start:stop] - rows @ position[:keys]
        running = torch.cumsum(rows, -2, out=part.shifted)
        if start:
            running[..., : carried.shape[-1]] += carried
        carried = running[..., -1:, :].clone()
        wanted = max(first - 1, start)  # row m - 1 completes the prefix of m tokens
        if wanted < stop:
            at = wanted - first + 1
            received[part.heads, :, at : at + stop - wanted, :keys] = running[:, :, wanted - start :].cpu()
    means = [received.view(batch, heads, len(length), size) / length[:, None]]
    for values in (rows_entropy, rows_distance):
        sums = torch.cumsum(values, -1, dtype=torch.float64)[..., first - 1 :].cpu()
        means.append((sums / length).float().view(batch, heads, -1))
    return PrefixStatistics(*(mean.transpose(1, 2) for mean in means))
