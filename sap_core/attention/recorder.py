"""Record attention while a model runs; the model computes exactly what it did before.

Beside each attention layer's output, which its own code computes unchanged, the same queries and keys are reduced to
statistics. `hooks` has the two ways to obtain them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from ..errors import OperationFailed
from .attention_rows import Attention, Buffers
from .hooks import BASES, functional_route, interface_route, running_blocks
from .kernel_dispatch import attention_statistics
from .observation import AttentionRecorder, Edit, Queries, Reduce
from .plan import FUNCTIONAL, INTERFACE, Call, RecordingPlan, plan_of, run_trial
from .row_statistics import LayerStatistics

_RECORDED: set[int] = set()  # ids of the modules that are being recorded


@contextmanager
def record_attention(
    model: Any, chunk: int = 128, reduce: Reduce | None = None, stride: int = 1, edit: Edit | None = None
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
        edit: (layer, `Attention`, values) -> the layer's output (batch, heads, S, width) in place of the model's own,
            or None to leave it; for a model that computes its own softmax, which has no values here, the rows
            (batch, heads, S, S).

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
            recorder = AttentionRecorder(model, plan, reduce or statistics, edit)
            with _recording(model, module, plan.route, recorder):
                yield recorder
    finally:
        _RECORDED.discard(id(module))


def recording_plan(model: Any) -> RecordingPlan:
    """Return which layers of a model attend and how they are recorded; runs the model once on a few tokens.

    Raises:
        OperationFailed: a model that can't be recorded.
    """
    module = _before_compiling(model if isinstance(model, nn.Module) else model.module)

    def trial(route: str) -> list[Call]:
        calls: list[Call] = []

        def reduce(layer: int, inputs: Attention, queries: Queries) -> None:
            result = attention_statistics(inputs, queries.valid, queries.masked)
            calls.append(Call(recorder.path, result.received[0].cpu()))

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
    """While open, everything of ``route`` reports to ``recorder``."""
    watched = _before_compiling(getattr(model, "observed_module", module))
    if route == FUNCTIONAL:
        open_route: AbstractContextManager[Any] = functional_route(recorder)
    else:
        open_route = interface_route(recorder, module, dict.fromkeys(watched.modules()))
    with open_route, running_blocks(watched, recorder.enter, recorder.leave):
        hooks = [
            watched.register_forward_pre_hook(recorder.before, with_kwargs=True),
            watched.register_forward_hook(recorder.after),
        ]
        try:
            yield recorder
        finally:
            for hook in hooks:
                hook.remove()


def _before_compiling(module: nn.Module) -> nn.Module:
    """Return the module that torch.compile was given, if ``module`` is what it returned."""
    return getattr(module, "_orig_mod", module)


def _uncompiled() -> AbstractContextManager[Any]:
    """While open, compiled functions run the code they were made from.

    Compiled code does not pass through the attention interface. If the compiler was never imported, nothing is
    compiled.
    """
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
