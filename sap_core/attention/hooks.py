"""Two ways of getting hold of a model's queries and keys without touching what it computes.

`interface_route`: transformers' attention interface. The function registered there calls the model's attention (sdpa or
eager) for the output. The mask function is registered under the same name: without it transformers silently drops
padding. `functional_route`: for code of its own that calls torch's scaled_dot_product_attention; every such call during
a forward is one layer, in order.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, Protocol

import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..errors import OperationFailed
from .attention_rows import Attention
from .kernel_dispatch import fusable
from .log_sum_exp import keeping_log_sum_exp

BASES = ("sdpa", "eager")


class Recorder(Protocol):
    """What the hooks report to; `AttentionRecorder` is one."""

    @property
    def listening(self) -> bool:
        """Whether an observed forward is running."""
        ...

    @property
    def next_layer(self) -> int:
        """The first layer that has not reported in the running forward."""
        ...

    def record(self, layer: int, inputs: Attention) -> None:
        """Take the queries and keys of one attention layer."""
        ...


_ACTIVE: dict[int, tuple[Recorder, int]] = {}  # id of an attention module -> who records it, as which layer


@contextmanager
def interface_route(recorder: Recorder, module: nn.Module, attentions: list[nn.Module]) -> Iterator[None]:
    """While open, ``attentions`` (one per layer, in order) of ``module`` report to ``recorder``.

    Raises:
        OperationFailed: attention that is neither sdpa nor eager.
    """
    base = getattr(module.config, "_attn_implementation", None)
    if base not in BASES:
        raise OperationFailed(f"Attention '{base}' can't be recorded; load the model with sdpa or eager attention.")
    name = _register(base)
    for layer, attention in enumerate(attentions):
        _ACTIVE[id(attention)] = recorder, layer
    try:
        module.set_attn_implementation(name)
        yield
    finally:
        module.set_attn_implementation(base)
        for attention in attentions:
            _ACTIVE.pop(id(attention), None)


class functional_route(TorchFunctionMode):
    """While open, calls of scaled_dot_product_attention during a forward report to ``recorder``."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if function is not F.scaled_dot_product_attention or not self._recorder.listening:
            return function(*args, **kwargs)
        inputs = _of_call(*args, **kwargs)
        with _keeping(inputs.query, inputs.key) as kept:
            output = function(*args, **kwargs)
        self._recorder.record(self._recorder.next_layer, replace(inputs, lse=kept and kept.of(inputs.query)))
        return output


def _of_call(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Attention:
    """The arguments of scaled_dot_product_attention as `Attention`."""
    if query.ndim != 4:
        raise OperationFailed(f"Attention over {query.ndim} dimensions can't be recorded; (batch, head, S, width) can.")
    mask = attn_mask if attn_mask is None else attn_mask.reshape((1,) * (4 - attn_mask.ndim) + attn_mask.shape)
    if mask is not None:
        mask = mask.expand(*mask.shape[:2], query.shape[2], key.shape[2])
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    return Attention(query.detach(), key.detach(), scale, mask, is_causal and mask is None)


def _keeping(query: Tensor, key: Tensor) -> Any:
    """Keeps the log-sum-exp of an attention call where there is a use for it."""
    return keeping_log_sum_exp() if fusable(query, key) else nullcontext()


def _register(base: str) -> str:
    """The name under which attention ``base`` with recording is known to transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface

    name = f"sap_{base}"
    AttentionInterface.register(name, {"sdpa": _recording_sdpa, "eager": _recording_eager}[base])
    AttentionMaskInterface.register(name, AttentionMaskInterface._global_mapping[base])
    return name


def _recording_sdpa(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any):
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    with _keeping(query, key) as kept:
        output = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    _observe(module, query, key, attention_mask, kwargs, lse=kept and kept.of(query))
    return output


def _recording_eager(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any):
    eager = sys.modules[type(module).__module__].eager_attention_forward
    output = eager(module, query, key, value, attention_mask, **kwargs)
    _observe(module, query, key, attention_mask, kwargs, eager=True)
    return output


def _observe(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    kwargs: dict[str, Any],
    eager: bool = False,
    lse: Tensor | None = None,
) -> None:
    recorder, layer = _ACTIVE.get(id(module), (None, 0))
    if recorder is None or not recorder.listening:
        return
    for name in ("s_aux", "position_bias"):
        if kwargs.get(name) is not None:
            raise OperationFailed(f"Attention with '{name}' ({type(module).__name__}) can't be recorded.")
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    scaling = kwargs.get("scaling")
    recorder.record(
        layer,
        Attention(
            query=query.detach(),
            key=key.detach(),
            scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
            mask=mask,
            causal=bool(causal) and mask is None and not eager,
            softcap=kwargs.get("softcap"),
            lse=lse,
        ),
    )
