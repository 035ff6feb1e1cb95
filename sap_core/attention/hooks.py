"""Two ways to obtain a model's queries and keys without changing what it computes.

`interface_route`: transformers' attention interface. The function registered there calls the model's attention (sdpa or
eager) for the output. The mask function is registered under the same name: without it transformers silently drops
padding. `functional_route`: for code that computes attention itself, by torch's scaled_dot_product_attention or by its
own softmax.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, Protocol

import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..errors import OperationFailed
from .attention_rows import Attention, of_rows
from .kernel_dispatch import fusable
from .log_sum_exp import keeping_log_sum_exp

BASES = ("sdpa", "eager")
_ACTIVE: dict[int, tuple[Listener, Any]] = {}  # id of a module -> who records it, and what it is called there


class Listener(Protocol):
    """The interface that a route reports to."""

    @property
    def listening(self) -> bool:
        """Whether an observed forward is running."""
        ...

    def record(self, index: Any, inputs: Attention) -> None:
        """Process one attention call; ``index`` identifies the layer, None: the running block."""

    def edit(self, inputs: Attention, value: Tensor | None) -> Tensor | None:
        """Return what takes the place of an attention call's output, or of the ``inputs.rows``; None: nothing does."""
        ...


@contextmanager
def interface_route(recorder: Listener, module: nn.Module, indices: dict[nn.Module, Any]) -> Iterator[None]:
    """While open, the modules of ``indices`` within ``module`` report to ``recorder``, each with its index.

    Raises:
        OperationFailed: attention that is neither sdpa nor eager.
    """
    base = getattr(module.config, "_attn_implementation", None)
    if base not in BASES:
        raise OperationFailed(f"Attention '{base}' can't be recorded; load the model with sdpa or eager attention.")
    name = _register(base)
    switch: Any = module.set_attn_implementation
    for part, index in indices.items():
        _ACTIVE[id(part)] = recorder, index
    try:
        switch(name)
        yield
    finally:
        switch(base)
        for part in indices:
            _ACTIVE.pop(id(part), None)


class functional_route(TorchFunctionMode):
    """While open, attention that a model's own code computes reports to ``recorder``.

    These are calls of scaled_dot_product_attention, and of softmax over rows of as many keys as there are queries.
    """

    def __init__(self, recorder: Listener) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if not self._recorder.listening:
            return function(*args, **kwargs)
        if function is F.scaled_dot_product_attention:
            inputs = _of_call(*args, **kwargs)
            output = self._recorder.edit(inputs, kwargs["value"] if "value" in kwargs else args[2])
            if output is not None:
                self._recorder.record(None, inputs)
                return output
            with _keeping(inputs.query, inputs.key) as kept:
                output = function(*args, **kwargs)
            self._recorder.record(None, replace(inputs, lse=kept and kept.of(inputs.query)))
            return output
        output = function(*args, **kwargs)
        if getattr(function, "__name__", "") == "softmax" and isinstance(output, Tensor):
            rows = _square(output, self._recorder)
            if rows is not None:
                edited = self._recorder.edit(of_rows(rows), None)
                self._recorder.record(None, of_rows(rows))
                return output if edited is None else edited.view_as(output)
        return output


def _square(rows: Tensor, recorder: Any) -> Tensor | None:
    """Return a softmax over all pairs of the text's tokens as (batch, heads, S, S); None for any other softmax.

    Older code flattens the first two dims.
    """
    if rows.ndim not in (3, 4) or rows.shape[-1] != rows.shape[-2]:
        return None
    batch, size = recorder.shape
    if rows.shape[-1] != size or rows.shape[0] % batch:
        return None
    return rows if rows.ndim == 4 else rows.view(batch, -1, size, size)


@contextmanager
def running_blocks(module: nn.Module, enter: Callable[[str], None], leave: Callable[[], None]) -> Iterator[None]:
    """While open, call ``enter`` and ``leave`` around every block of a numbered list in ``module``."""
    hooks = []
    for path, part in module.named_modules(remove_duplicate=False):
        if path.rpartition(".")[2].isdigit():
            hooks.append(part.register_forward_pre_hook(lambda *_, path=path: enter(path)))
            hooks.append(part.register_forward_hook(lambda *_: leave(), always_call=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


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
    """Return the arguments of scaled_dot_product_attention as `Attention`."""
    if query.ndim != 4:
        raise OperationFailed(f"Attention over {query.ndim} dimensions can't be recorded; (batch, head, S, width) can.")
    mask = attn_mask if attn_mask is None else attn_mask.reshape((1,) * (4 - attn_mask.ndim) + attn_mask.shape)
    if mask is not None:
        mask = mask.expand(*mask.shape[:2], query.shape[2], key.shape[2])
    factor = query.shape[-1] ** -0.5 if scale is None else scale
    return Attention(query.detach(), key.detach(), factor, mask, is_causal and mask is None)


def _keeping(query: Tensor, key: Tensor) -> Any:
    """Return a context that keeps the log-sum-exp of an attention call, if it is of use."""
    return keeping_log_sum_exp() if fusable(query, key) else nullcontext()


def _register(base: str) -> str:
    """Register recording for attention ``base`` with transformers and return its name there."""
    from transformers import AttentionInterface, AttentionMaskInterface

    name = f"sap_{base}"
    AttentionInterface.register(name, {"sdpa": _recording_sdpa, "eager": _recording_eager}[base])
    AttentionMaskInterface.register(name, AttentionMaskInterface()[base])
    return name


def _recording_sdpa(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any
) -> Any:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    edited = _edited(module, query, key, value, attention_mask, kwargs)
    if edited is not None:
        return edited, None
    with _keeping(query, key) as kept:
        output = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    _observe(module, query, key, attention_mask, kwargs, lse=kept and kept.of(query))
    return output


def _recording_eager(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any
) -> Any:
    edited = _edited(module, query, key, value, attention_mask, kwargs, eager=True)
    if edited is not None:
        return edited, None
    eager = sys.modules[type(module).__module__].eager_attention_forward
    output = eager(module, query, key, value, attention_mask, **kwargs)
    _observe(module, query, key, attention_mask, kwargs, eager=True)
    return output


def _edited(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    kwargs: dict[str, Any],
    eager: bool = False,
) -> Tensor | None:
    """Return the output (batch, S, heads, width) that the listener computes instead of the model; None if it does not.

    The call is recorded like any other.
    """
    recorder, index = _ACTIVE.get(id(module), (None, None))
    if recorder is None or not recorder.listening:
        return None
    inputs = _inputs(module, query, key, mask, kwargs, eager)
    output = recorder.edit(inputs, value)
    if output is None:
        return None
    recorder.record(index, inputs)
    return output.transpose(1, 2).contiguous()


def _observe(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    kwargs: dict[str, Any],
    eager: bool = False,
    lse: Tensor | None = None,
) -> None:
    recorder, index = _ACTIVE.get(id(module), (None, None))
    if recorder is None or not recorder.listening:
        return
    recorder.record(index, replace(_inputs(module, query, key, mask, kwargs, eager), lse=lse))


def _inputs(
    module: nn.Module, query: Tensor, key: Tensor, mask: Tensor | None, kwargs: dict[str, Any], eager: bool
) -> Attention:
    """Return the arguments of an attention function of transformers as `Attention`."""
    for name in ("s_aux", "position_bias"):
        if kwargs.get(name) is not None:
            raise OperationFailed(f"Attention with '{name}' ({type(module).__name__}) can't be recorded.")
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    scaling = kwargs.get("scaling")
    return Attention(
        query=query.detach(),
        key=key.detach(),
        scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
        mask=mask,
        causal=bool(causal) and mask is None and not eager,
        softcap=kwargs.get("softcap"),
    )
