"""The statistics of one observed forward pass, layer by layer, and the checks of its inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..errors import OperationFailed
from .attention_rows import Attention
from .plan import RecordingPlan
from .row_statistics import LayerStatistics
from .window import placed


@dataclass(frozen=True)
class AttentionStats:
    """Statistics of one forward pass, all layers; float32 on the CPU. See `LayerStatistics` for the formulas.

    received, received_masked: (batch, layer, head, position); entropy, distance: (batch, layer, head). The layers are
    those that attend, see `AttentionRecorder.layers`.
    """

    received: Float[Tensor, "batch layer head position"]
    received_masked: Float[Tensor, "batch layer head position"]
    entropy: Float[Tensor, "batch layer head"]
    distance: Float[Tensor, "batch layer head"]


@dataclass(frozen=True)
class Queries:
    """Which queries of the running forward count, and which are masked: bool (batch, S)."""

    valid: Bool[Tensor, "batch position"]
    masked: Bool[Tensor, "batch position"]


Reduce = Callable[[int, Attention, Queries], Any]
# (layer, inputs, value; None for rows) -> the layer's output, or its rows; None: as the model computes them
Edit = Callable[[int, Attention, Tensor | None], Tensor | None]


class AttentionRecorder:
    """Keeps the statistics of each forward pass; made by `record_attention`.

    Attributes:
        masked: bool (batch, S) or None. Set it before a forward to say which positions are masked; when None, they are
            those whose token is the model's mask token.
    """

    def __init__(self, owner: Any, plan: RecordingPlan | None, reduce: Reduce, edit: Edit | None = None) -> None:
        self.masked: Tensor | None = None
        self.shape: tuple[int, ...] = (0, 0)
        self._owner = owner
        self._plan = plan
        self._reduce = reduce
        self._edit = edit
        self._queries: Queries | None = None
        self._running: list[str] = []
        self._layers: dict[int, Any] = {}
        self._complete = False

    @property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the layers that attend, in the order of ``results``."""
        return self._plan.layers if self._plan else tuple(sorted(self._layers))

    @property
    def heads(self) -> int:
        """Query heads of each layer; 0 during the trial that finds them."""
        return self._plan.heads if self._plan else 0

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
        """Return the statistics of the last observed forward.

        Raises:
            OperationFailed: as `results`.
        """
        layers: list[LayerStatistics] = self.results()
        names = ("received", "received_masked", "entropy", "distance")
        found = [_on_cpu([getattr(layer, name) for layer in layers]) for name in names]
        for device in {layer.received.device for layer in layers if layer.received.is_cuda}:
            torch.cuda.synchronize(device)
        stats = AttentionStats(*found)
        for index, number in enumerate(self.layers):
            if not bool(torch.isfinite(stats.received[:, index].sum() + stats.entropy[:, index].sum())):
                raise OperationFailed(
                    f"The attention of layer {number} is not finite (NaN or infinity) in this step: the model's "
                    "activations are not, as where every token is masked in a model that divides by the unmasked ones, "
                    "or they leave the range of the precision; try another prompt or dtype."
                )
        return stats

    def before(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        """Begin a forward pass: find which of its queries count and which are masked."""
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

    def after(self, module: nn.Module, args: Any, output: Any) -> None:
        """End a forward pass.

        Raises:
            OperationFailed: a layer did not report.
        """
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

    def record(self, index: Any, inputs: Attention) -> None:
        """Process one attention call of a running forward; called by a route."""
        if self._queries is None:
            return
        window = getattr(self._owner, "window", None)
        if window is not None:
            inputs = placed(inputs, window.start, window.total, window.first_key)
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

    def edit(self, inputs: Attention, value: Tensor | None) -> Tensor | None:
        """Return what takes the place of a layer's output or rows, from ``record_attention(edit=)``; None: nothing."""
        layer = self._layer() if self._edit is not None and self._queries is not None else None
        if self._edit is None or layer is None or layer in self._layers:  # `record` says what is wrong
            return None
        return self._edit(layer, inputs, value)

    def enter(self, path: str) -> None:
        """Note that a numbered block begins to run."""
        self._running.append(path)

    def leave(self) -> None:
        """Note that the last block that began has ended."""
        if self._running:
            self._running.pop()

    def _layer(self) -> int | None:
        """Return the layer of an attention call made now."""
        if self._plan is None or not self._plan.numbers:  # the trial, or one block that runs as every layer
            order = len(self._layers)
            return order if self._plan is None or order < len(self._plan.layers) else None
        return self._plan.numbers.get(self._running[-1]) if self._running else None

    @property
    def path(self) -> str:
        """Path of the numbered block that runs; "" outside one."""
        return self._running[-1] if self._running else ""


def _on_cpu(layers: list[Tensor]) -> Tensor:
    """Return (batch, layer, ...) from one tensor per layer.

    Copies from CUDA devices may still be in progress: one wait for all costs a fraction of one wait for each.
    """
    cuda = any(layer.is_cuda for layer in layers)
    whole = torch.empty((len(layers), *layers[0].shape), pin_memory=cuda)
    for to, layer in zip(whole, layers, strict=True):
        to.copy_(layer, non_blocking=cuda)
    return whole.transpose(0, 1)


def _queries_of(window: Any) -> Queries:
    """Return the queries of a pass over a part of a text: those of its block.

    See `sap_core.models.diffusion_gemma.Window`.
    """
    valid = torch.zeros_like(window.masked)
    valid[:, window.start : window.stop] = True
    return Queries(valid, window.masked)
