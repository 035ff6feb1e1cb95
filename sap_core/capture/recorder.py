"""Recording attention through transformers' own attention interface; the model computes exactly what it did before.

The function registered here calls the model's attention (sdpa or eager) for the output, untouched, and reduces the
same queries and keys to statistics beside it. The mask function is registered under the same name: without it
transformers silently drops padding.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import OperationFailed
from .rows import Attention, Buffers
from .statistics import LayerStatistics, layer_statistics

BASES = ("sdpa", "eager")
_ACTIVE: dict[int, tuple[AttentionRecorder, int]] = {}  # id of an attention module -> who records it, as which layer


@dataclass(frozen=True)
class AttentionStats:
    """One forward pass, all layers; float32 on the CPU. See `LayerStatistics` for the formulas.

    received, received_masked: (batch, layer, head, position); entropy, distance: (batch, layer, head).
    """

    received: Tensor
    received_masked: Tensor
    entropy: Tensor
    distance: Tensor


@dataclass(frozen=True)
class Queries:
    """Which queries of the running forward count, and which are masked: bool (batch, S)."""

    valid: Tensor
    masked: Tensor


Reduce = Callable[[int, Attention, Queries], Any]


class AttentionRecorder:
    """Made by `record_attention`.

    Attributes:
        masked: bool (batch, S) or None. Set it before a forward to say which positions are masked; when None, they are
            those whose token is the model's mask token.
    """

    def __init__(self, module: nn.Module, attentions: list[nn.Module], owner: Any, reduce: Reduce) -> None:
        self.masked: Tensor | None = None
        self._module = module
        self._attentions = attentions
        self._owner = owner
        self._reduce = reduce
        self._queries: Queries | None = None
        self._layers: dict[int, Any] = {}
        self._complete = False

    def results(self) -> list[Any]:
        """What ``reduce`` returned for each layer during the last observed forward, and forget it.

        Raises:
            OperationFailed: there was no observed forward since the last call.
        """
        if not self._complete:
            raise OperationFailed("No forward pass was recorded since the last one was collected.")
        self._complete = False
        return [self._layers.pop(layer) for layer in range(len(self._attentions))]

    def collect(self) -> AttentionStats:
        """The statistics of the last observed forward. Raises as `results`."""
        layers: list[LayerStatistics] = self.results()

        def stacked(name: str) -> Tensor:
            return torch.stack([getattr(layer, name).cpu() for layer in layers], 1)

        return AttentionStats(*map(stacked, ("received", "received_masked", "entropy", "distance")))

    def _before(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        self._queries = None
        if not getattr(self._owner, "observed", True):
            return  # what the last observed forward left stays to be collected
        self._layers = {}
        self._complete = False
        tokens = kwargs.get("input_ids", args[0] if args else None)
        source = tokens if tokens is not None else kwargs.get("inputs_embeds")
        if source is None:
            raise OperationFailed("Can't record: the model was called without input_ids and without inputs_embeds.")
        shape, device = source.shape[:2], source.device
        padding = kwargs.get("attention_mask")
        valid = torch.ones(shape, dtype=torch.bool, device=device)
        if padding is not None and padding.ndim == 2:
            valid = padding.to(device).bool()
        masked = self.masked
        mask_id = getattr(getattr(self._owner, "info", None), "mask_token_id", None)
        if masked is None and mask_id is not None and tokens is not None:
            masked = tokens == mask_id
        if masked is None:
            masked = torch.zeros(shape, dtype=torch.bool, device=device)
        self._queries = Queries(valid, masked.to(device))

    def _after(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._queries is None:
            return
        missing = [layer for layer in range(len(self._attentions)) if layer not in self._layers]
        if missing:
            raise OperationFailed(
                f"{type(module).__name__} ran, but {len(missing)} of its {len(self._attentions)} attention layers "
                f"did not report (first: layer {missing[0]}): its code does not call transformers' attention "
                "interface. Load it through a native transformers class."
            )
        self._queries = None
        self._complete = True

    def _record(self, layer: int, inputs: Attention) -> None:
        if self._queries is None:
            return
        if layer in self._layers:
            raise OperationFailed(f"Layer {layer} attended twice in one forward; such a model can't be recorded.")
        queries = Queries(*(part.to(inputs.query.device) for part in (self._queries.valid, self._queries.masked)))
        self._layers[layer] = self._reduce(layer, inputs, queries)


@contextmanager
def record_attention(model: Any, chunk: int = 128, reduce: Reduce | None = None) -> Iterator[AttentionRecorder]:
    """Record every forward pass of ``model`` inside the ``with`` block; call ``collect()`` after each.

        with record_attention(model) as recorder:
            logits = model.logits(tokens)
            stats = recorder.collect()

    Args:
        model: a `LoadedModel`, or a plain transformers model.
        chunk: queries whose rows exist at the same time; memory grows with it, speed changes little.
        reduce: (layer, `Attention`, `Queries`) -> anything, in place of `layer_statistics`; get it from ``results()``.

    Raises:
        OperationFailed: a model that can't be recorded: compiled, already recorded, attention that is neither sdpa nor
            eager, or (at its forward) not all layers reporting.
    """
    module = getattr(model, "module", model) if not isinstance(model, nn.Module) else model
    if type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None) is not None:
        raise OperationFailed("A compiled model can't be recorded; pass the model as it was before torch.compile.")
    attentions = _attention_modules(model, module)
    if any(id(attention) in _ACTIVE for attention in attentions):
        raise OperationFailed("This model is being recorded already; end that recording first.")
    base = getattr(module.config, "_attn_implementation", None)
    if base not in BASES:
        raise OperationFailed(f"Attention '{base}' can't be recorded; load the model with sdpa or eager attention.")

    buffers = Buffers()

    def statistics(layer: int, inputs: Attention, queries: Queries) -> LayerStatistics:
        return layer_statistics(inputs, queries.valid, queries.masked, chunk, buffers)

    recorder = AttentionRecorder(module, attentions, model, reduce or statistics)
    name = _register(base)
    for layer, attention in enumerate(attentions):
        _ACTIVE[id(attention)] = recorder, layer
    hooks = [
        module.register_forward_pre_hook(recorder._before, with_kwargs=True),
        module.register_forward_hook(recorder._after),
    ]
    try:
        module.set_attn_implementation(name)
        yield recorder
    finally:
        module.set_attn_implementation(base)
        for hook in hooks:
            hook.remove()
        for attention in attentions:
            _ACTIVE.pop(id(attention), None)


def _attention_modules(model: Any, module: nn.Module) -> list[nn.Module]:
    found = getattr(model, "attentions", None)
    if found is None:
        found = [part for part in module.modules() if "Attention" in type(part).__name__ and hasattr(part, "layer_idx")]
    if not found:
        raise OperationFailed(f"{type(module).__name__} has no attention layer that can be recorded.")
    return list(found)


def _register(base: str) -> str:
    """The name under which attention ``base`` with recording is known to transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface

    name = f"sap_{base}"
    AttentionInterface.register(name, {"sdpa": _recording_sdpa, "eager": _recording_eager}[base])
    AttentionMaskInterface.register(name, AttentionMaskInterface._global_mapping[base])
    return name


def _recording_sdpa(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any):
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    output = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    _observe(module, query, key, attention_mask, kwargs)
    return output


def _recording_eager(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any):
    eager = sys.modules[type(module).__module__].eager_attention_forward
    output = eager(module, query, key, value, attention_mask, **kwargs)
    _observe(module, query, key, attention_mask, kwargs, eager=True)
    return output


def _observe(
    module: nn.Module, query: Tensor, key: Tensor, mask: Tensor | None, kwargs: dict[str, Any], eager: bool = False
) -> None:
    recorder, layer = _ACTIVE.get(id(module), (None, 0))
    if recorder is None or recorder._queries is None:
        return
    if query.shape[2] != key.shape[2]:
        raise OperationFailed(
            f"{query.shape[2]} queries met {key.shape[2]} keys: recording needs whole texts; call with use_cache=False."
        )
    for name in ("s_aux", "position_bias"):
        if kwargs.get(name) is not None:
            raise OperationFailed(f"Attention with '{name}' ({type(module).__name__}) can't be recorded.")
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    scaling = kwargs.get("scaling")
    recorder._record(
        layer,
        Attention(
            query=query.detach(),
            key=key.detach(),
            scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
            mask=mask,
            causal=bool(causal) and mask is None and not eager,
            softcap=kwargs.get("softcap"),
        ),
    )
