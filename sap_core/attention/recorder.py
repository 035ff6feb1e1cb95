"""Recording attention while a model runs; the model computes exactly what it did before.

Beside each attention layer's output, which its own code computes untouched, the same queries and keys are reduced to
statistics. `hooks` has the two ways of getting hold of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import OperationFailed
from .attention_rows import Attention, Buffers
from .hooks import BASES, functional_route, interface_route, running_blocks
from .kernel_dispatch import attention_statistics
from .plan import FUNCTIONAL, INTERFACE, Call, RecordingPlan, plan_of, run_trial
from .row_statistics import LayerStatistics
from .window import placed

_RECORDED: set[int] = set()  # ids of the modules that are being recorded


@dataclass(frozen=True)
class AttentionStats:
    """One forward pass, all layers; float32 on the CPU. See `LayerStatistics` for the formulas.

    received, received_masked: (batch, layer, head, position); entropy, distance: (batch, layer, head). The layers are
    those that attend, see `AttentionRecorder.layers`.
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

    def __init__(self, owner: Any, plan: RecordingPlan | None, reduce: Reduce) -> None:
        self.masked: Tensor | None = None
        self.shape: tuple[int, ...] = (0, 0)
        self._owner = owner
        self._plan = plan
        self._reduce = reduce
        self._queries: Queries | None = None
        self._running: list[str] = []
        self._layers: dict[int, Any] = {}
        self._complete = False

    @property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the layers that attend, in the order of ``results``."""
        return self._plan.layers if self._plan else tuple(sorted(self._layers))

    def results(self) -> list[Any]:
        """Return what ``reduce`` returned for each layer during the last observed forward, and forget it.

        Raises:
            OperationFailed: there was no observed forward since the last call.
        """
        if not self._complete:
            raise OperationFailed(
                "No forward pass was recorded since the last one was collected (a class that lets padding in "
                "runs texts of different lengths one by one, unrecorded)."
            )
        self._complete = False
        return [self._layers.pop(layer) for layer in self.layers]

    @property
    def listening(self) -> bool:
        """Whether an observed forward is running."""
        return self._queries is not None

    def collect(self) -> AttentionStats:
        """Return the statistics of the last observed forward. Raises as `results`."""
        layers: list[LayerStatistics] = self.results()
        names = ("received", "received_masked", "entropy", "distance")
        found = [_on_cpu([getattr(layer, name) for layer in layers]) for name in names]
        for device in {layer.received.device for layer in layers if layer.received.is_cuda}:
            torch.cuda.synchronize(device)
        stats = AttentionStats(*found)
        for place, number in enumerate(self.layers):
            if not bool(torch.isfinite(stats.received[:, place].sum() + stats.entropy[:, place].sum())):
                raise OperationFailed(
                    f"The attention of layer {number} is not finite (NaN or infinity) in this step: the model's "
                    "activations are not, as where every token is masked in a model that divides by the unmasked ones, "
                    "or they leave the range of the precision; try another prompt or dtype."
                )
        return stats

    def _before(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        self._queries = None
        if not getattr(self._owner, "observed", True):
            return  # what the last observed forward left stays to be collected
        self._layers = {}
        self._running = []
        self._complete = False
        window = getattr(self._owner, "window", None)
        if window is not None:
            self._queries = _queries_of(window)
            self.shape = tuple(self._queries.valid.shape)
            return
        tokens = kwargs.get("input_ids", args[0] if args else None)
        source = tokens if tokens is not None else kwargs.get("inputs_embeds")
        if source is None:
            raise OperationFailed("Can't record: the model was called without input_ids and without inputs_embeds.")
        shape, device = source.shape[:2], source.device
        padding = getattr(self._owner, "padding", None)
        padding = kwargs.get("attention_mask") if padding is None else padding
        valid = torch.ones(shape, dtype=torch.bool, device=device)
        if padding is not None and padding.ndim == 2:
            valid = padding.to(device).bool()
        masked = self.masked
        mask_id = getattr(getattr(self._owner, "info", None), "mask_token_id", None)
        if masked is None and mask_id is not None and tokens is not None:
            masked = tokens == mask_id
        if masked is None:
            masked = torch.zeros(shape, dtype=torch.bool, device=device)
        self._queries, self.shape = Queries(valid, masked.to(device)), tuple(shape)

    def _after(self, module: nn.Module, args: Any, output: Any) -> None:
        if self._queries is None:
            return
        missing = [layer for layer in self.layers if layer not in self._layers]
        if missing:
            raise OperationFailed(
                f"{len(missing)} of {len(self.layers)} attention layers of {type(module).__name__} did not report "
                f"(first: layer {missing[0]}): for {self.shape[1]} tokens it attends in another way than for a few."
            )
        self._queries = None
        self._complete = True

    def record(self, place: Any, inputs: Attention) -> None:
        """Called by a route for every attention call of a running forward."""
        if self._queries is None:
            return
        window = getattr(self._owner, "window", None)
        if window is not None:
            inputs = placed(inputs, window.start, window.total)
        if inputs.query.shape[2] != inputs.key.shape[2]:
            raise OperationFailed(
                f"{inputs.query.shape[2]} queries met {inputs.key.shape[2]} keys: recording needs whole texts; "
                "call with use_cache=False."
            )
        layer = self._layer()
        if layer is None or layer in self._layers:
            raise OperationFailed(
                f"Block {self._running[-1] if self._running else 'outside blocks'} attended in another way than in the "
                "trial of a few tokens; such a model can't be recorded."
            )
        queries = Queries(*(part.to(inputs.query.device) for part in (self._queries.valid, self._queries.masked)))
        if inputs.rows is not None:  # rows of padding may be anything, NaN included
            even = inputs.rows.new_tensor(1 / inputs.rows.shape[-1])
            inputs = replace(inputs, rows=torch.where(queries.valid[:, None, :, None], inputs.rows, even))
        self._layers[layer] = self._reduce(layer, inputs, queries)

    def enter(self, path: str) -> None:
        """A numbered block begins to run."""
        self._running.append(path)

    def leave(self) -> None:
        """The last block that began ends."""
        if self._running:
            self._running.pop()

    def _layer(self) -> int | None:
        """Return the layer that an attention call of this moment belongs to."""
        if self._plan is None or not self._plan.numbers:  # the trial, or one block that runs as every layer
            order = len(self._layers)
            return order if self._plan is None or order < len(self._plan.layers) else None
        return self._plan.numbers.get(self._running[-1]) if self._running else None

    @property
    def path(self) -> str:
        """Of the numbered block that runs; "" outside one."""
        return self._running[-1] if self._running else ""


@contextmanager
def record_attention(
    model: Any, chunk: int = 128, reduce: Reduce | None = None, stride: int = 1
) -> Iterator[AttentionRecorder]:
    """Record every forward pass of ``model`` inside the ``with`` block; call ``collect()`` after each.

        with record_attention(model) as recorder:
            logits = model.logits(tokens)
            stats = recorder.collect()

    Args:
        model: a `LoadedModel`, or a plain transformers model.
        chunk: queries whose rows exist at the same time; memory grows with it, speed changes little.
        reduce: (layer, `Attention`, `Queries`) -> anything, in place of `attention_statistics`; get it from
            ``results()``.
        stride: estimate the statistics from every ``stride``-th query; see `layer_statistics`.

    A model that went through torch.compile, whole or in parts, is run by its own code while it is recorded: slower, and
    its output is that of the model before it was compiled. One whose layers are on several devices, or come from memory
    or disk when they are needed, is recorded where each layer runs.

    Raises:
        OperationFailed: a model that can't be recorded: already recorded, attention that is neither sdpa nor eager, or
            (at its forward) not all layers reporting.
    """
    module = _before_compiling(model if isinstance(model, nn.Module) else model.module)
    if id(module) in _RECORDED:
        raise OperationFailed("This model is being recorded already; end that recording first.")
    buffers = Buffers()

    def statistics(layer: int, inputs: Attention, queries: Queries) -> LayerStatistics:
        return attention_statistics(inputs, queries.valid, queries.masked, chunk, buffers, stride)

    _RECORDED.add(id(module))
    try:
        with _uncompiled():
            plan = recording_plan(model)
            recorder = AttentionRecorder(model, plan, reduce or statistics)
            with _recording(model, module, plan.route, recorder):
                yield recorder
    finally:
        _RECORDED.discard(id(module))


def recording_plan(model: Any) -> RecordingPlan:
    """Return which layers of a model attend and how that is recorded; the first time, it is run on a few tokens.

    Raises:
        OperationFailed: a model that can't be recorded.
    """
    module = _before_compiling(model if isinstance(model, nn.Module) else model.module)

    def trial(route: str) -> list[Call]:
        calls: list[Call] = []

        def reduce(layer: int, inputs: Attention, queries: Queries) -> None:
            found = attention_statistics(inputs, queries.valid, queries.masked)
            calls.append(Call(recorder.path, found.received[0].cpu()))

        if route == INTERFACE:
            _check_interface(module)
        with _recording(model, module, route, AttentionRecorder(model, None, reduce)) as recorder:
            run_trial(model, module)
        return calls

    with _uncompiled():
        return plan_of(model, module, trial)


def _check_interface(module: nn.Module) -> None:
    base = getattr(getattr(module, "config", None), "_attn_implementation", None)
    if base is None:
        raise OperationFailed(f"{type(module).__name__} has no attention layer that can be recorded.")
    if base not in BASES:
        raise OperationFailed(f"Attention '{base}' can't be recorded; load the model with sdpa or eager attention.")


@contextmanager
def _recording(model: Any, module: nn.Module, route: str, recorder: AttentionRecorder) -> Iterator[AttentionRecorder]:
    """Everything that reports to ``recorder`` while open."""
    watched = _before_compiling(getattr(model, "observed_module", module))
    if route == FUNCTIONAL:
        open_route: AbstractContextManager[Any] = functional_route(recorder)
    else:
        open_route = interface_route(recorder, module, dict.fromkeys(watched.modules()))
    with open_route, running_blocks(watched, recorder.enter, recorder.leave):
        hooks = [
            watched.register_forward_pre_hook(recorder._before, with_kwargs=True),
            watched.register_forward_hook(recorder._after),
        ]
        try:
            yield recorder
        finally:
            for hook in hooks:
                hook.remove()


def _before_compiling(module: nn.Module) -> nn.Module:
    """Return the module itself, where ``module`` is what torch.compile returned for it."""
    return getattr(module, "_orig_mod", module)


def _uncompiled() -> AbstractContextManager[Any]:
    """While open, whatever torch.compile made is run by the code it was made from: compiled code doesn't pass through
    the attention interface. Where the compiler was never imported, nothing is compiled."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def _on_cpu(layers: list[Tensor]) -> Tensor:
    """(batch, layer, ...) from one tensor per layer. Copies from CUDA devices may still be under way: one wait for all
    of them costs a fraction of one each."""
    cuda = any(layer.is_cuda for layer in layers)
    whole = torch.empty((len(layers), *layers[0].shape), pin_memory=cuda)
    for to, layer in zip(whole, layers, strict=True):
        to.copy_(layer, non_blocking=cuda)
    return whole.transpose(0, 1)


def _queries_of(window: Any) -> Queries:
    """Return the queries of a pass over a part of a text: those of its block; see
    `sap_core.models.diffusion_gemma.Window`."""
    valid = torch.zeros_like(window.masked)
    valid[:, window.start : window.stop] = True
    return Queries(valid, window.masked)
