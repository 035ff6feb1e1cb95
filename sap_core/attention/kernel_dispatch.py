"""Choose how a layer's attention is reduced: by the fused kernel on a GPU, or in chunks anywhere."""

from __future__ import annotations

import warnings
from functools import cache
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from .attention_rows import Attention, Buffers
from .log_sum_exp import keeping_log_sum_exp
from .row_statistics import LayerStatistics, layer_statistics

WIDEST = 256  # head dimension that the kernel takes
DTYPES = (torch.bfloat16, torch.float16, torch.float32)


def attention_statistics(
    inputs: Attention,
    valid: Bool[Tensor, "batch position"],
    masked: Bool[Tensor, "batch position"],
    chunk: int = 128,
    buffers: Buffers | None = None,
    stride: int = 1,
) -> LayerStatistics:
    """Return the statistics of one layer, by the fused kernel if `fusable`, else by `layer_statistics`.

    `layer_statistics` is the reference; arguments and result are the same. Only it uses ``chunk`` and ``buffers``.
    """
    if inputs.rows is None and fusable(inputs.query, inputs.key):
        from .fused import fused_statistics

        return fused_statistics(inputs, valid, masked, stride)
    return layer_statistics(inputs, valid, masked, chunk, buffers, stride)


def fusable(query: Float[Tensor, "batch heads queries width"], key: Float[Tensor, "batch kv_heads keys width"]) -> bool:
    """Return whether the fused kernel can reduce this attention; query (batch, heads, S, head_dim) and its keys.

    It can on a GPU with Triton, in half or single precision and up to `WIDEST`, if a trial on this device gives what
    the reference gives. If the trial fails, a warning is given and the reference is used.
    """
    if query.device.type != "cuda" or query.shape[-1] > WIDEST:
        return False
    if query.dtype not in DTYPES or key.dtype != query.dtype:
        return False
    return _tried(query.device, query.dtype, query.shape[-1])


@cache
def _tried(device: torch.device, dtype: torch.dtype, width: int) -> bool:
    if find_spec("triton") is None or torch.cuda.get_device_capability(device) < (8, 0):
        return False
    try:
        apart = trial(device, dtype, width)
    except Exception as error:  # no compiler for the launcher, an unknown GPU, a Triton that is too old or too new
        apart, why = float("inf"), f"{type(error).__name__}: {error}".splitlines()[0]
    else:
        why = f"it is off by {apart:.1e}"
    if apart < 1e-3:
        return True
    warnings.warn(f"The fused attention statistics don't work on {device} ({why}); they are computed in pieces.")
    return False


def trial(device: torch.device, dtype: torch.dtype, width: int) -> float:
    """Return the largest difference between fused kernel and reference on a small attention on this device.

    The log-sum-exp is that of the model's own kernel where it provides one. Each statistic counts as a fraction of its
    largest value.
    """
    from .fused import fused_statistics

    random = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, heads, 96, width, generator=random).to(device, dtype) for heads in (4, 2))
    everyone = torch.ones(2, 96, dtype=torch.bool, device=device)
    masked = torch.rand(2, 96, generator=random).to(device) < 0.5
    with keeping_log_sum_exp() as kept:
        F.scaled_dot_product_attention(query, key, key, enable_gqa=True)
    own = Attention(query, key, width**-0.5, lse=kept.of(query))
    with torch.no_grad():
        found = _all(fused_statistics(own, everyone, masked))
        pairs = zip(found, _all(layer_statistics(own, everyone, masked)), strict=True)
        return max(float((found - exact).abs().max() / exact.abs().max()) for found, exact in pairs)


def _all(statistics: LayerStatistics) -> tuple[Tensor, ...]:
    return statistics.received, statistics.received_masked, statistics.entropy, statistics.distance
