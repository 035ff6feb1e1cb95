"""One layer's statistics on a GPU in one pass over its attention, in Triton: no row is ever in device memory.

A program owns a block of keys and iterates over the queries. From a tile of logits s and the rows' log-sum-exp L it has
A = exp(s - L), and adds up what each of its keys receives; the entropy is the sum of A * (L - s), so nothing has to be
normalised or visited twice, and as no two programs write to the same address the result is deterministic. L is what the
model's own attention kernel computed (`log_sum_exp`), or one pass of the same kind here.

Arithmetic: half precision is multiplied as it is and summed in float32, as in the model; float32 is multiplied in
float32 (no TF32). Logits are in base 2, so that exp2, which the hardware has, needs no factor.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .attention_rows import Attention, sampled
from .row_statistics import LayerStatistics

_LOG2E = math.log2(math.e)
LOG2E = tl.constexpr(_LOG2E)
LN2 = tl.constexpr(math.log(2))
BLOCKED = tl.constexpr(-1e30)  # base-2 logit of a key that a query can't see; finite, so that 0 * it is 0


def fused_statistics(inputs: Attention, valid: Tensor, masked: Tensor, stride: int = 1) -> LayerStatistics:
    """Return the same as `layer_statistics`, whose arguments it has, for head dimensions up to 256.

    Memory: beside the result, one number per query and two per block of keys, for each head.
    """
    query, key, mask = inputs.query, inputs.key, inputs.mask
    batch, heads, size, width = query.shape
    device = query.device
    picked = range(*sampled(size, stride).indices(size))
    blocks = block_sizes(width, query.element_size(), mask is not None)
    columns = triton.cdiv(size, blocks["KEYS"])
    if mask is None:
        strides, kind = (0, 0, 0, 0), "none"
    else:
        mask = mask.expand(batch, heads, size, size)
        strides, kind = mask.stride(), "bool" if mask.dtype == torch.bool else "float"
        mask = mask.view(torch.uint8) if kind == "bool" else mask
    # What both kernels take, in their order: tensors and where things are in them, sizes, then what is compiled in.
    shared = (query, key, query if mask is None else mask, *query.stride(), *key.stride(), *strides)
    shared += (heads, heads // key.shape[1], size, width, len(picked), picked.start, stride)
    factor = inputs.scale if inputs.softcap else inputs.scale * _LOG2E
    shared += (float(factor), float(inputs.softcap or 1.0))
    fixed: dict[str, Any] = {
        "CAUSAL": inputs.causal,
        "MASK": kind,
        "SOFTCAP": bool(inputs.softcap),
        "WIDTH": max(16, triton.next_power_of_2(width)),
        **blocks,
    }
    kernels: dict[str, Any] = {"rows": _rows_kernel, "columns": _columns_kernel}
    received = torch.empty(2, batch, heads, size, device=device)
    parts = torch.empty(2, batch, heads, columns, device=device)
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        if inputs.lse is None:
            lse = torch.empty(batch, heads, len(picked), device=device)
            grid = (triton.cdiv(len(picked), blocks["QUERIES"]), batch * heads)
            reduce_rows = kernels["rows"][grid]
            reduce_rows(*shared, lse, *lse.stride(), **fixed)
        else:
            lse = inputs.lse[:, :, sampled(size, stride)]
        who = (valid.view(torch.uint8), *valid.stride(), masked.view(torch.uint8), *masked.stride())
        grid = (columns, batch * heads)
        reduce_columns = kernels["columns"][grid]
        reduce_columns(*shared, lse, *lse.stride(), *who, received, parts, batch * heads, math.log2(size), **fixed)
    entropy, distance = parts.sum(-1).unbind(0)
    return LayerStatistics(received[0], received[1], entropy, distance)


def block_sizes(width: int, bytes_each: int, masked: bool) -> dict[str, int]:
    """Return the tile of keys x queries and its launch options, by head dimension, element size and mask.

    Chosen by what the compiler reports for compute capability 8.0 to 9.0: registers without (float32: hardly any)
    spilling, two stages of tiles within the 99 KiB of shared memory that the smallest of these GPUs give a program.
    """
    if bytes_each > 2:
        return {"KEYS": 32, "QUERIES": 16 if width > 128 else 32, "num_warps": 4, "num_stages": 2}
    if width > 128:
        return {"KEYS": 64, "QUERIES": 32, "num_warps": 4, "num_stages": 2}
    return {"KEYS": 128, "QUERIES": 32 if masked else 64, "num_warps": 8, "num_stages": 2}


@triton.jit
def _tile(
    left, right, query, key, mask, mask_q, mask_k, size, scale, softcap,
    CAUSAL: tl.constexpr, MASK: tl.constexpr, SOFTCAP: tl.constexpr,
):  # fmt: skip
    """Return base-2 logits of rows ``left`` and columns ``right``.

    ``query`` and ``key``: positions, shaped to broadcast.
    """
    logits = tl.dot(left, tl.trans(right), input_precision="ieee") * scale
    if SOFTCAP:
        small = tl.exp2(tl.abs(logits) * (-2 * LOG2E / softcap))  # tanh |x| = (1 - e) / (1 + e), e = exp(-2 |x|)
        bound = softcap * LOG2E * (1 - small) / (1 + small)
        logits = tl.where(logits < 0, -bound, bound)
    if MASK != "none":
        there = (query < size) & (key < size)
        given = tl.load(mask + query.to(tl.int64) * mask_q + key.to(tl.int64) * mask_k, mask=there, other=0)
        if MASK == "bool":
            logits = tl.where(given != 0, logits, BLOCKED)
        else:
            logits = tl.maximum(logits + given.to(tl.float32) * LOG2E, BLOCKED)
    if CAUSAL:
        logits = tl.where(key <= query, logits, BLOCKED)
    return logits


@triton.jit
def _rows_kernel(
    q, k, mask, q_b, q_h, q_s, q_d, k_b, k_h, k_s, k_d, mask_b, mask_h, mask_q, mask_k,
    heads, groups, size, width, count, first, step, scale, softcap,
    lse, lse_b, lse_h, lse_s,
    CAUSAL: tl.constexpr, MASK: tl.constexpr, SOFTCAP: tl.constexpr,
    WIDTH: tl.constexpr, KEYS: tl.constexpr, QUERIES: tl.constexpr,
):  # fmt: skip
    """Compute the log-sum-exp of the queries first, first + step, ... (natural; `BLOCKED` where no key is visible)."""
    batch, head = (tl.program_id(1) // heads).to(tl.int64), (tl.program_id(1) % heads).to(tl.int64)
    rows = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    position = first + rows * step
    inner = tl.arange(0, WIDTH)
    own = q + batch * q_b + head * q_h + position[:, None].to(tl.int64) * q_s + inner[None, :] * q_d
    queries = tl.load(own, mask=(rows < count)[:, None] & (inner < width)[None, :], other=0)
    k += batch * k_b + (head // groups) * k_h
    mask += batch * mask_b + head * mask_h
    largest = tl.full([QUERIES], float("-inf"), tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    end = size
    if CAUSAL:
        end = tl.minimum(size, first + (tl.program_id(0) * QUERIES + QUERIES - 1) * step + 1)
    for start in range(0, end, KEYS):
        where = start + tl.arange(0, KEYS)
        theirs = k + where[:, None].to(tl.int64) * k_s + inner[None, :] * k_d
        keys = tl.load(theirs, mask=(where < size)[:, None] & (inner < width)[None, :], other=0)
        logits = _tile(
            queries, keys, position[:, None], where[None, :], mask, mask_q, mask_k, size, scale, softcap,
            CAUSAL, MASK, SOFTCAP,
        )  # fmt: skip
        logits = tl.where((where < size)[None, :], logits, float("-inf"))
        larger = tl.maximum(largest, tl.max(logits, 1))
        total = total * tl.exp2(largest - larger) + tl.sum(tl.exp2(logits - larger[:, None]), 1)
        largest = larger
    result = tl.where(largest > 0.5 * BLOCKED, (largest + tl.log2(total)) * LN2, BLOCKED)
    tl.store(lse + batch * lse_b + head * lse_h + rows * lse_s, result, mask=rows < count)


@triton.jit
def _columns_kernel(
    q, k, mask, q_b, q_h, q_s, q_d, k_b, k_h, k_s, k_d, mask_b, mask_h, mask_q, mask_k,
    heads, groups, size, width, count, first, step, scale, softcap,
    lse, lse_b, lse_h, lse_s, valid, valid_b, valid_s, masked, masked_b, masked_s,
    received, parts, layer_heads, even,
    CAUSAL: tl.constexpr, MASK: tl.constexpr, SOFTCAP: tl.constexpr,
    WIDTH: tl.constexpr, KEYS: tl.constexpr, QUERIES: tl.constexpr,
):  # fmt: skip
    """Compute what a block of keys receives from ``count`` queries.

    received: (2, batch * heads, size), from all and from masked queries. parts: (2, batch * heads, blocks of keys),
    this block's part of entropy and distance. even: log2 of size, the log-sum-exp of as many logits of 0.
    """
    batch, head = (tl.program_id(1) // heads).to(tl.int64), (tl.program_id(1) % heads).to(tl.int64)
    where = tl.program_id(0) * KEYS + tl.arange(0, KEYS)
    inner = tl.arange(0, WIDTH)
    theirs = k + batch * k_b + (head // groups) * k_h + where[:, None].to(tl.int64) * k_s + inner[None, :] * k_d
    keys = tl.load(theirs, mask=(where < size)[:, None] & (inner < width)[None, :], other=0)
    q += batch * q_b + head * q_h
    mask += batch * mask_b + head * mask_h
    lse += batch * lse_b + head * lse_h
    valid += batch * valid_b
    masked += batch * masked_b
    from_all = tl.zeros([KEYS], tl.float32)
    from_masked = tl.zeros([KEYS], tl.float32)
    entropy = tl.zeros([KEYS], tl.float32)
    distance = tl.zeros([KEYS], tl.float32)
    counted = tl.zeros([QUERIES], tl.float32)
    begin = 0
    if CAUSAL:  # queries before the first of these keys see none of them; they only count
        begin = tl.maximum(tl.program_id(0) * KEYS - first, 0) // step // QUERIES * QUERIES
        for start in range(0, begin, QUERIES):
            position = first + (start + tl.arange(0, QUERIES)) * step
            counted += tl.load(valid + position * valid_s).to(tl.float32)
    for start in range(begin, count, QUERIES):
        rows = start + tl.arange(0, QUERIES)
        there = rows < count
        position = first + rows * step
        own = q + position[:, None].to(tl.int64) * q_s + inner[None, :] * q_d
        queries = tl.load(own, mask=there[:, None] & (inner < width)[None, :], other=0)
        counts = tl.load(valid + position * valid_s, mask=there, other=0).to(tl.float32)
        blank = tl.load(masked + position * masked_s, mask=there, other=0).to(tl.float32)
        whole = tl.load(lse + rows * lse_s, mask=there, other=0) * LOG2E
        logits = _tile(
            keys, queries, position[None, :], where[:, None], mask, mask_q, mask_k, size, scale, softcap,
            CAUSAL, MASK, SOFTCAP,
        )  # fmt: skip
        if MASK != "none":  # a query that sees nothing attends to everything alike, as softmax has it
            lost = whole < 0.5 * BLOCKED
            logits = tl.where(lost[None, :], 0.0, logits)
            whole = tl.where(lost, even, whole)
        whole = tl.where(counts > 0, whole, -BLOCKED)
        log = logits - whole[None, :]
        fraction = tl.exp2(log)
        from_all += tl.sum(fraction, 1)
        from_masked += tl.sum(fraction * blank[None, :], 1)
        entropy -= tl.sum(fraction * log, 1)
        distance += tl.sum(fraction * tl.abs(position[None, :] - where[:, None]).to(tl.float32), 1)
        counted += counts
    mean = 1 / tl.maximum(tl.sum(counted, 0), 1.0)
    inside = where < size
    own_head = tl.program_id(1).to(tl.int64)
    tl.store(received + own_head * size + where, from_all * mean, mask=inside)
    tl.store(received + (own_head + layer_heads) * size + where, from_masked * mean, mask=inside)
    part = parts + tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    tl.store(part, tl.sum(tl.where(inside, entropy, 0.0), 0) * mean * LN2)
    tl.store(part + layer_heads * tl.num_programs(0), tl.sum(tl.where(inside, distance, 0.0), 0) * mean)
