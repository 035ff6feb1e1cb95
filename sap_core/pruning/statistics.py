"""What the calibration inputs say about every linear layer: the norms of its input columns.

Two ways to walk the model. `one_shot` sees every layer of the dense model in one forward pass per batch.
`block_by_block` feeds each block with the outputs of the blocks before it, after they have been pruned.
Symbols: N rows of S tokens; X the inputs of one linear layer for one row, [S, in]; w one weight per token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..capture.recorder import record_attention
from ..progress import Progress, ProgressCallback, silent
from .noise import layer_mass, sink_weights

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel

# Values of activations held at once while a forward pass runs; bounds memory at about 1 GB in float32.
_HELD_VALUES = 1 << 28
_ROWS_AT_ONCE = 16


@dataclass(frozen=True)
class TokenRows:
    """``tokens`` int64 [N, S] as the model sees them, ``weights`` float [N, S]: how much each token counts."""

    tokens: Tensor
    weights: Tensor

    def batches(self, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(self.tokens.split(rows), self.weights.split(rows), strict=True)


class ColumnNorms:
    """Norms of the input columns of one linear layer, [in].

    ``mean_square``: sqrt(mean over rows of ||w * X_j||^2), Wanda's statistic. Otherwise the sum over rows of
    ||w * X_j||, the statistic of the sink-aware paper's code.
    """

    def __init__(self, mean_square: bool) -> None:
        self.mean_square = mean_square
        self.total: Tensor | float = 0.0
        self.rows = 0

    def add(self, squares: Tensor, rows: int) -> None:
        """``squares`` [rows, in]: the squared column norm of every row."""
        self.total = self.total + (squares if self.mean_square else squares.sqrt()).sum(0)
        self.rows += rows

    def result(self) -> Tensor:
        return (self.total / self.rows).sqrt() if self.mean_square else self.total


def one_shot(
    model: LoadedModel, data: TokenRows, *, sinks: bool, mean_square: bool, progress: ProgressCallback = silent
) -> dict[str, Tensor]:
    """Column norms [in] of every prunable linear layer, by name, on the model as it is.

    ``sinks``: every token's activations count (1 - phi), phi measured in the same forward pass, so that one pass is
    enough where the published code takes two.
    """
    modules = {name: module for layer in range(len(model.blocks)) for name, module in model.linears(layer).items()}
    norms = {name: ColumnNorms(mean_square) for name in modules}
    rows = _rows_at_once(data.tokens.shape[1], modules.values())
    total = -(-len(data.tokens) // rows)
    for done, (tokens, weights) in enumerate(data.batches(rows)):
        with torch.no_grad(), _inputs_of(modules) as inputs:
            weights = weights * (1 - _sink_share(model, tokens)) if sinks else _forward(model, tokens, weights)
            _add(norms, inputs, weights)
        progress(Progress("calibrate", done + 1, total))
    return {name: norm.result() for name, norm in norms.items()}


def block_by_block(
    model: LoadedModel,
    data: TokenRows,
    prune_block: Callable[[int, dict[str, Tensor]], None],
    *,
    mean_square: bool,
    progress: ProgressCallback = silent,
) -> None:
    """Calls ``prune_block(layer, column norms by name)`` for every block, first to last; what it changes in a block
    is what the later blocks see."""
    rows = _rows_at_once(data.tokens.shape[1], model.linears(0).values())
    hidden, calls = _first_block_inputs(model, data, rows)
    weights = list(data.weights.split(rows))
    with torch.no_grad():
        for layer, block in enumerate(model.blocks):
            modules = model.linears(layer)
            norms = {name: ColumnNorms(mean_square) for name in modules}
            for x, w in zip(hidden, weights, strict=True):
                with _inputs_of(modules) as inputs:
                    _run_block(block, x, calls[len(x)][layer])
                    _add(norms, inputs, w)
            prune_block(layer, {name: norm.result() for name, norm in norms.items()})
            hidden = [_run_block(block, x, calls[len(x)][layer]) for x in hidden]
            progress(Progress("prune", layer + 1, len(model.blocks)))


def _sink_share(model: LoadedModel, tokens: Tensor) -> Tensor:
    """phi [B, S] of a forward pass over ``tokens``."""
    with record_attention(model, reduce=layer_mass) as recorder:
        model.logits(tokens)
        return sink_weights(sum(mass.to(tokens.device) for mass in recorder.results()))


def _forward(model: LoadedModel, tokens: Tensor, weights: Tensor) -> Tensor:
    model.logits(tokens)
    return weights


def _add(norms: dict[str, ColumnNorms], inputs: dict[str, Tensor], weights: Tensor) -> None:
    """Squared norms of w * X_j for every layer; layers that share their input (q, k, v) share the work."""
    seen: dict[tuple, Tensor] = {}
    squared_weights = weights.square()[:, None, :]
    for name, x in inputs.items():
        key = (x.data_ptr(), x.shape)
        if key not in seen:
            seen[key] = (squared_weights @ x.float().square()).squeeze(1)
        norms[name].add(seen[key], len(x))


@contextmanager
def _inputs_of(modules: dict[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Keeps the input of every module, [B, S, in], for one forward pass."""
    inputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable:
        return lambda module, args: inputs.__setitem__(name, args[0].detach())

    handles = [module.register_forward_pre_hook(keep(name)) for name, module in modules.items()]
    try:
        yield inputs
    finally:
        for handle in handles:
            handle.remove()


class _Stop(Exception):
    """Ends a forward pass once what was wanted from it is there."""


def _first_block_inputs(
    model: LoadedModel, data: TokenRows, rows: int
) -> tuple[list[Tensor], dict[int, list[dict[str, Any]]]]:
    """Inputs of the first block per batch, and for each batch size the other arguments every block is called with
    (positions, attention mask): these do not depend on the tokens, for no row is padded."""
    hidden: list[Tensor] = []
    calls: dict[int, list[dict[str, Any]]] = {}
    for tokens, _ in data.batches(rows):
        known, seen = len(tokens) in calls, []

        def look(module: nn.Module, args: tuple, kwargs: dict, known: bool = known, seen: list = seen) -> None:
            if not seen:
                hidden.append(args[0] if args else kwargs["hidden_states"])
            if known:
                raise _Stop
            seen.append({k: v for k, v in kwargs.items() if k not in ("hidden_states", "past_key_values")})

        handles = [block.register_forward_pre_hook(look, with_kwargs=True) for block in model.blocks]
        try:
            with torch.no_grad():
                model.logits(tokens)
        except _Stop:
            pass
        finally:
            for handle in handles:
                handle.remove()
        if not known:
            calls[len(tokens)] = seen
    return hidden, calls


def _run_block(block: nn.Module, hidden: Tensor, kwargs: dict[str, Any]) -> Tensor:
    out = block(hidden, **kwargs)
    return out[0] if isinstance(out, tuple) else out


def _rows_at_once(length: int, modules: Any) -> int:
    """Batch size that keeps the held activations within bounds."""
    width = sum(module.in_features for module in modules)
    return max(1, min(_ROWS_AT_ONCE, _HELD_VALUES // (length * width)))
