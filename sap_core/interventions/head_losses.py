"""The loss of a model without some of its heads; blocks below the first of them are not computed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import InvalidInput
from ..evaluation.likelihood import ScoredPass
from ..models.loaded import LoadedModel

Heads = Sequence[tuple[int, int]]
HELD_BYTES = 1 << 29  # of the outputs of all blocks in one pass


class HeadLosses:
    """Losses of one forward pass without heads, after one run of it that keeps every block's output.

    A block is skipped by returning what it returned in that run. Whether that gives the model's own logits is checked
    in the first pass, block by block; a model whose blocks share more than their output is run from the beginning.
    """

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self._blocks = model.blocks
        self._outputs: dict[int, Any] = {}
        self._skips: bool | None = None if len(set(map(id, self._blocks))) == len(self._blocks) else False
        self._pass: ScoredPass | None = None

    @torch.no_grad()
    def begin(self, some: ScoredPass) -> Float[np.ndarray, " n"]:
        """Run a pass with all heads and return the loss of each of its rows."""
        self._pass, self._outputs = some, {}
        with ExitStack() as hooks:
            for number, block in enumerate(self._blocks):
                hook = block.register_forward_hook(lambda _, __, output, n=number: self._outputs.update({n: output}))
                hooks.callback(hook.remove)
            logits = self._logits()
        if self._skips is None:
            self._skips = all(torch.equal(self._from(layer), logits) for layer in range(1, len(self._blocks)))
        return some.losses(logits, None)[0]

    @torch.no_grad()
    def without(self, heads: Heads) -> Float[np.ndarray, " n"]:
        """Return the loss of each row of the pass without these (layer, head) pairs."""
        if self._pass is None:
            raise RuntimeError("begin a pass first")
        with without_heads(self.model, heads):
            logits = self._from(min((layer for layer, _ in heads), default=0) if self._skips else 0)
        return self._pass.losses(logits, None)[0]

    @property
    def skips(self) -> bool:
        """Whether blocks below the first head are skipped."""
        return bool(self._skips)

    def _from(self, layer: int) -> Tensor:
        """Return the logits, with the outputs that were kept in place of the blocks below ``layer``."""
        with ExitStack() as replaced:
            for number, block in enumerate(self._blocks[:layer]):
                replaced.enter_context(_returning(block, self._outputs[number]))
            return self._logits()

    def _logits(self) -> Tensor:
        if self._pass is None:
            raise RuntimeError("begin a pass first")
        return self.model.logits(self._pass.inputs.to(self.model.device), observed=False)


@contextmanager
def without_heads(model: LoadedModel, heads: Heads) -> Iterator[None]:
    """While open, these (layer, head) pairs give nothing: their columns of the output projection's input are 0."""
    width = model.info.head_dim
    columns: dict[int, list[int]] = {}
    for layer, head in heads:
        columns.setdefault(layer, []).extend(range(head * width, (head + 1) * width))
    hooks = [
        model.output_projection(layer).register_forward_pre_hook(_zeroing(columns_of))
        for layer, columns_of in columns.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def check_heads(model: LoadedModel) -> list[tuple[int, int]]:
    """Return every (layer, head) that can be left out.

    Raises:
        InvalidInput: the model's attention output is not known, or it denoises random tokens.
    """
    info = model.info
    layers = sorted({m.layer for m in info.matrices if m.kind == "o"} & set(info.attention_layers))
    if not layers:
        raise InvalidInput(f"heads of {info.ref} can't be left out: its attention output is not known.")
    if model.is_diffusion and not info.row.has_mask:
        raise InvalidInput(f"{info.ref} denoises random tokens; its loss on texts, and so of a head, is not defined.")
    width = {m.layer: m.cols // info.head_dim for m in info.matrices if m.kind == "o"}
    return [(layer, head) for layer in layers for head in range(width[layer])]


def rows_at_once(model: LoadedModel, length: int) -> int:
    """Return how many rows of a pass keep the outputs of all blocks within `HELD_BYTES`."""
    size = 4 if model.dtype in (torch.float32, torch.float64) else 2
    return max(1, HELD_BYTES // (len(model.blocks) * length * model.info.hidden * size))


def _zeroing(columns: list[int]) -> Callable[[nn.Module, tuple], tuple]:
    def hook(_: nn.Module, args: tuple) -> tuple:
        given = args[0].clone()
        given[..., columns] = 0
        return (given, *args[1:])

    return hook


@contextmanager
def _returning(block: nn.Module, output: Any) -> Iterator[None]:
    """While open, the block returns ``output`` without computing anything."""
    held = block.__dict__.get("forward")
    block.forward = lambda *_, **__: output
    try:
        yield
    finally:
        if held is None:
            del block.forward
        else:
            block.forward = held
