"""A model whose heads can't attend to chosen positions: `ablated` makes one that all of the evaluation can use.

Every forward pass is made twice: as the model is, which says where the sinks of these tokens are, and with those
positions blocked. A model that writes from left to right does without its cache of keys and values: each pass is of the
whole text so far, so that every row is computed under the same intervention.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..attention.attention_rows import Attention, Buffers
from ..attention.blocking import SCORES, blocked_attention, blocked_rows
from ..attention.kernel_dispatch import attention_statistics
from ..attention.observation import Queries
from ..attention.recorder import record_attention
from ..errors import InvalidInput, OperationFailed
from ..models.loaded import LoadedModel
from .selection import Choice, blocked_positions

if TYPE_CHECKING:
    from ..choices.sink_rules import SinkRule

BY_STEP, BY_RUN = "step", "run"


@contextmanager
def ablated(
    model: LoadedModel,
    *,
    what: str = SCORES,
    rule: SinkRule | None = None,
    heads: tuple[tuple[int, int], ...] = (),
    seed: int = 0,
) -> Iterator[Any]:
    """While open, the result is ``model`` with positions blocked as its ``choice`` says; ``model`` itself is unchanged.

    The model must not be used beside it while the context is open.

    Args:
        model: The model.
        what: Scores or values, see `sap_core.attention.blocking`.
        rule: See `blocked_positions`.
        heads: (layer, head) pairs in which positions are blocked; none: in all.
        seed: Of the controls.

    Yields:
        An `_Ablated` of the model's class.

    Raises:
        InvalidInput: a model that denoises random tokens; heads that it does not have.
        OperationFailed: its attention can't be recorded.
    """
    if model.is_diffusion and not model.info.row.has_mask:
        raise InvalidInput(
            f"{model.info.ref} denoises random tokens by its own generate, in which nothing can be blocked; "
            "models with a mask token and autoregressive ones can be taken."
        )
    twin: Any = copy.copy(model)
    twin.__class__ = type(f"Ablated{type(model).__name__}", (_Ablated, type(model)), {})
    twin.prepare(what, rule, seed)
    buffers = Buffers()

    def reduce(_: int, inputs: Attention, queries: Queries) -> Any:
        if twin.blocked is not None:
            return None
        return attention_statistics(inputs, queries.valid, queries.masked, buffers=buffers)

    with record_attention(twin, reduce=reduce, edit=twin.edit) as recorder:
        twin.recorder = recorder
        twin.allow(heads)
        yield twin


class _Ablated(LoadedModel):
    """What a model gets so that positions can be blocked; mixed into its class by `ablated`.

    Attributes:
        choice: What is blocked in each pass; None: nothing.
        fixed: (batch, layer, head, position), the attention received that says where the sinks are, in place of each
            pass's own; None: each pass's own.
        part: Fractions of the generation between which the intervention is active, such as (0.25, 0.5).
        seen: The attention received in each pass since `begin`, where it is kept; nothing is blocked meanwhile.
        counted: Totals over the passes: blocked positions and their attention, and how many (row, layer, head) there
            were.
    """

    choice: Choice | None
    fixed: Tensor | None
    part: tuple[float, float]
    counted: np.ndarray
    seen: list[Tensor] | None
    recorder: Any
    blocked: Tensor | None

    def prepare(self, what: str, rule: SinkRule | None, seed: int) -> None:
        """Set the state before anything runs."""
        self.what, self.rule, self.seed = what, rule, seed
        self.choice = self.fixed = self.blocked = self.recorder = None
        self.part, self.allowed = (0.0, 1.0), None
        self.begin()

    def begin(self) -> None:
        """Note that a new text begins: controls are drawn from the beginning, and nothing is counted yet."""
        self.passes, self.most_masked = 0, 0
        self.counted = np.zeros(3)
        self.seen = None

    def allow(self, heads: tuple[tuple[int, int], ...]) -> None:
        """Block positions in these (layer, head) pairs alone; none: in all."""
        self.allowed = self._pairs(heads) if heads else None

    def _pairs(self, heads: tuple[tuple[int, int], ...]) -> Bool[Tensor, "layer head"]:
        layers, count = list(self.recorder.layers), self.recorder.heads
        result = torch.zeros(len(layers), count, dtype=torch.bool)
        for layer, head in heads:
            if layer not in layers or not 0 <= head < count:
                raise InvalidInput(
                    f"head {layer}.{head} does not exist: layers that attend are {', '.join(map(str, layers))}, each "
                    f"with heads 0 to {count - 1}."
                )
            result[layers.index(layer), head] = True
        return result

    # ---- one pass ---------------------------------------------------------------------------------------------------

    def look(
        self, input_ids: Tensor, attention_mask: Tensor | None
    ) -> tuple[Tensor, Float[Tensor, "batch layer head position"]]:
        """Return the logits of the model as it is, and the attention that every position receives."""
        self.blocked = None
        logits = super().logits(input_ids, attention_mask)
        return logits, self.recorder.collect().received

    def run(
        self, input_ids: Tensor, attention_mask: Tensor | None, blocked: Bool[Tensor, "batch layer head position"]
    ) -> Tensor:
        """Return the logits with these positions blocked."""
        self.blocked = blocked
        try:
            logits = super().logits(input_ids, attention_mask)
            self.recorder.results()
        finally:
            self.blocked = None
        return logits

    def choose(
        self,
        received: Tensor,
        valid: Bool[Tensor, "batch position"],
        choice: Choice,
        order: Float[Tensor, "batch layer head position"],
    ) -> Bool[Tensor, "batch layer head position"]:
        """Return the positions that are blocked, in the heads in which any are."""
        visible = None
        if not self.is_diffusion:  # key j is seen by the valid queries from j on
            visible = valid.flip(1).cumsum(1).flip(1) * valid
        blocked = blocked_positions(received, valid, choice, order, rule=self.rule, visible=visible)
        if self.allowed is not None:
            blocked = blocked & self.allowed[None, :, :, None]
        if choice.head is not None:
            blocked = blocked & self._pairs((choice.head,))[None, :, :, None]
        return blocked

    def edit(self, layer: int, inputs: Attention, value: Tensor | None) -> Tensor | None:
        """Return a layer's output with positions blocked; called by the recorder."""
        if self.blocked is None:
            return None
        here = self.blocked[:, self.recorder.layers.index(layer)]
        if not here.any():
            return None
        if inputs.rows is not None:
            return blocked_rows(inputs.rows, here.to(inputs.rows.device), self.what)
        if value is None:
            raise OperationFailed(f"Layer {layer} attends without values; nothing can be blocked there.")
        return blocked_attention(inputs, value, here.to(inputs.query.device), self.what)

    # ---- what the evaluation calls ----------------------------------------------------------------------------------

    @torch.no_grad()
    def logits(self, input_ids: Tensor, attention_mask: Tensor | None = None, *, observed: bool = True) -> Tensor:
        """Return the logits under the intervention, as `LoadedModel.logits` returns the model's."""
        if self.recorder is None:  # the trial that finds the layers
            return super().logits(input_ids, attention_mask, observed=observed)
        if self.choice is None or (self.choice.top == 0 and self.seen is None):
            return super().logits(input_ids, attention_mask, observed=False)
        valid = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        valid, number = valid.cpu(), self.passes
        self.passes += 1
        received = self.fixed
        if received is None:
            intact, received = self.look(input_ids, attention_mask)
            if self.seen is not None:
                self.seen.append(received)
            if self.seen is not None or not self._active(input_ids):
                return intact
        elif not self._active(input_ids):
            return super().logits(input_ids, attention_mask, observed=False)
        received = _fitted(received, input_ids.shape)
        random = torch.Generator().manual_seed(self.seed + (0 if self.fixed is not None else number))
        order = _fitted(torch.rand(self._whole(received), generator=random), input_ids.shape)
        blocked = self.choose(received, valid, self.choice, order)
        self.counted += [int(blocked.sum()), float((received * blocked).sum()), blocked[..., 0].numel()]
        return self.run(input_ids, attention_mask, blocked)

    def _whole(self, received: Tensor) -> tuple[int, ...]:
        """Return the shape of random numbers; of fixed sinks as many as the whole text has, whatever is written yet."""
        return tuple(received.shape if self.fixed is None else self.fixed.shape)

    def span_logits(
        self, tokens: Tensor, span: Tensor | None, memory: dict[str, Any], *, observed: bool = True
    ) -> Tensor:
        """Return the logits of a canvas from a pass over all of it, whatever the model could keep from earlier ones."""
        return LoadedModel.span_logits(self, tokens, span, memory, observed=observed)

    def next_logits(self, input_ids: Tensor, attention_mask: Tensor, past: Any | None) -> tuple[Tensor, Any]:
        """Return the logits of the next token from a pass over the whole text; the text is the cache."""
        whole = input_ids if past is None else torch.cat([past, input_ids.to(past.device)], 1)
        return self.logits(whole, attention_mask)[:, -1], whole

    def average(self) -> Float[Tensor, "batch layer head position"]:
        """Return the mean attention received over the passes since `begin`, shorter texts counting 0 beyond their end.

        Raises:
            OperationFailed: there was no pass.
        """
        if not self.seen:
            raise OperationFailed("No pass was looked at before its average was asked for.")
        longest = max(received.shape[-1] for received in self.seen)
        shape = (self.seen[0].shape[0], longest)
        return torch.stack([_fitted(received, shape) for received in self.seen]).mean(0)

    def _active(self, tokens: Tensor) -> bool:
        """Return whether this pass lies in the part of the generation in which positions are blocked."""
        if self.part == (0.0, 1.0):
            return True
        masked = int((tokens == self.info.mask_token_id).sum())
        self.most_masked = max(self.most_masked, masked)
        done = 1 - masked / max(self.most_masked, 1)
        return self.part[0] <= done < self.part[1]


def _fitted(received: Tensor, shape: Any) -> Tensor:
    """Return the first positions of each row, as many as ``shape`` (batch, position) has; 0 where there are fewer."""
    short = shape[1] - received.shape[-1]
    return torch.nn.functional.pad(received, (0, max(short, 0)))[..., : shape[1]]
