"""What the calibration inputs say about every linear layer: the norms of its input columns, or its Gram matrix.

Two ways to walk the model. `one_shot` sees every layer of the dense model in one forward pass per batch.
`block_by_block` feeds each block with the outputs of the blocks before it, after they have been pruned.
Symbols: N rows of S tokens; X the inputs of one linear layer for one row, [S, in]; w one weight per token.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...attention.recorder import record_attention
from ...errors import required
from ...progress import Progress, ProgressCallback, silent
from .finite import check_finite
from .sink_weighting import sink_weights

if TYPE_CHECKING:
    from ...errors import ModelProblem
from ...models.loaded import LoadedModel

# Values of activations held at once while a forward pass runs; bounds memory at about 1 GB in float32.
_HELD_VALUES = 1 << 28
ROWS_AT_ONCE = 16


@dataclass(frozen=True)
class TokenRows:
    """Rows of tokens as a rectangle.

    Attributes:
        tokens: int64 [N, S].
        weights: float [N, S], how much each token counts.
        lengths: (N,), how much of each row the model sees, by default all; rows of one length are one behind the other.
            A batch holds rows of one length, cut to it: no model sees padding.
    """

    tokens: Tensor
    weights: Tensor
    lengths: Sequence[int] = ()

    def __post_init__(self) -> None:
        if not len(self.lengths):
            object.__setattr__(self, "lengths", [self.tokens.shape[1]] * len(self.tokens))

    def parts(self, rows: int) -> Iterator[tuple[slice, int]]:
        """Yield (which rows, their length) of every batch of at most ``rows`` rows."""
        start = 0
        for stop in range(1, len(self.lengths) + 1):
            ends = stop == len(self.lengths) or self.lengths[stop] != self.lengths[start]
            if ends or stop - start == rows:
                yield slice(start, stop), int(self.lengths[start])
                start = stop

    def batches(self, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (tokens, weights) of every batch."""
        return ((self.tokens[part, :length], self.weights[part, :length]) for part, length in self.parts(rows))

    def weighted(self, factor: Tensor) -> TokenRows:
        """Return the rows with each token's weight times ``factor`` [N, S]."""
        return replace(self, weights=self.weights * factor)


class RootMeanSquare:
    """sqrt(mean over rows of ||w * X_j||^2), [in]: Wanda's statistic."""

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.rows = 0

    @staticmethod
    def measure(x: Tensor, weights: Tensor) -> Tensor:
        """Of one batch, x [B, S, in] and weights [B, S]; layers with the same input share it."""
        return _squared_norms(x, weights).sum(0)

    def add(self, measured: Tensor, rows: int) -> None:
        # Its own copy, for layers share what was measured, and then in place: a Gram matrix is large.
        self.total = measured.clone() if self.total is None else self.total.add_(measured)
        self.rows += rows

    def result(self) -> Tensor:
        return (required(self.total, "the statistic") / self.rows).sqrt()


class SumOfNorms(RootMeanSquare):
    """Sum over rows of ||w * X_j||, [in]: the statistic of the sink-aware paper's code."""

    @staticmethod
    def measure(x: Tensor, weights: Tensor) -> Tensor:
        return _squared_norms(x, weights).sqrt().sum(0)

    def result(self) -> Tensor:
        return required(self.total, "the statistic")


class Gram(RootMeanSquare):
    """H = (2 / N) * sum over rows of (w X)^T (w X), [in, in]: SparseGPT's Hessian of the layer's squared error."""

    @staticmethod
    def measure(x: Tensor, weights: Tensor) -> Tensor:
        flat = (x.float() * weights[..., None]).flatten(0, 1)
        return flat.T @ flat

    def result(self) -> Tensor:
        return required(self.total, "the statistic").mul_(2 / self.rows)  # in place: asked for once


class Moments(RootMeanSquare):
    """Mean and variance of each input column over all tokens that count, [2, in]."""

    @staticmethod
    def measure(x: Tensor, weights: Tensor) -> Tensor:
        flat, w = x.float().flatten(0, 1), weights.flatten()[:, None]
        return torch.stack([(flat * w).sum(0), (flat.square() * w).sum(0), w.sum().expand(flat.shape[1])])

    def result(self) -> Tensor:
        total = required(self.total, "the statistic")
        mean, square = total[0] / total[2], total[1] / total[2]
        return torch.stack([mean, (square - mean.square()).clamp(min=0)])


Statistic = type[RootMeanSquare]


def one_shot(
    model: LoadedModel,
    data: TokenRows,
    statistic: Statistic,
    *,
    sinks: bool = False,
    progress: ProgressCallback = silent,
) -> dict[str, Tensor]:
    """Return the statistic of every prunable linear layer, by name, on the model as it is.

    ``sinks``: every token's activations count (1 - phi), phi measured in the same forward pass, so that one pass is
    enough where the published code takes two.
    """
    modules = {name: module for layer in range(len(model.blocks)) for name, module in model.linears(layer).items()}
    found = {name: statistic() for name in modules}
    rows = rows_at_once(data.tokens.shape[1], modules.values())
    total = sum(1 for _ in data.parts(rows))
    for done, (tokens, weights) in enumerate(data.batches(rows)):
        with torch.no_grad(), inputs_of(modules) as inputs:
            if sinks:
                weights = weights * (1 - _sink_share(model, tokens))
            else:
                model.logits(tokens)
            add_batch(found, inputs, weights)
        progress(Progress("calibrate", done + 1, total))
    return {name: one.result() for name, one in found.items()}


def block_by_block(
    model: LoadedModel,
    data: TokenRows,
    statistic: Statistic,
    prune_block: Callable[[int, dict[str, Tensor]], None],
    *,
    names: Container[str] | None = None,
    progress: ProgressCallback = silent,
) -> None:
    """Call ``prune_block(layer, statistic by name)`` for every block, first to last; what it changes in a block is
    what the later blocks see. ``names``: the matrices that are measured; None: all."""
    rows = rows_at_once(data.tokens.shape[1], model.linears(0).values())
    hidden, calls = _first_block_inputs(model, data, rows)
    weights = [weights for _, weights in data.batches(rows)]
    with torch.no_grad():
        for layer, block in enumerate(model.blocks):
            modules = {n: module for n, module in model.linears(layer).items() if names is None or n in names}
            found = {name: statistic() for name in modules}
            for x, w in zip(hidden, weights, strict=True):
                with inputs_of(modules) as inputs:
                    run_block(block, x, calls[tuple(w.shape)][layer])
                    add_batch(found, inputs, w)
            prune_block(layer, {name: one.result() for name, one in found.items()})
            if layer + 1 < len(model.blocks):
                hidden = [
                    run_block(block, x, calls[tuple(w.shape)][layer]) for x, w in zip(hidden, weights, strict=True)
                ]
            progress(Progress("prune", layer + 1, len(model.blocks)))


def sink_shares(model: LoadedModel, data: TokenRows, progress: ProgressCallback = silent) -> Tensor:
    """phi [N, S] of the rows on the model as it is; 0 beyond a row's length."""
    parts = list(data.parts(ROWS_AT_ONCE))
    shares = torch.zeros_like(data.weights)
    for done, (part, length) in enumerate(parts):
        shares[part, :length] = _sink_share(model, data.tokens[part, :length])
        progress(Progress("sinks", done + 1, len(parts)))
    return shares


def rows_at_once(length: int, modules: Iterable[nn.Linear]) -> int:
    """Batch size that keeps the held activations within bounds."""
    width = sum(module.in_features for module in modules)
    return max(1, min(ROWS_AT_ONCE, _HELD_VALUES // (length * width)))


def _squared_norms(x: Tensor, weights: Tensor) -> Tensor:
    """||w * X_j||^2 of every row of the batch, [B, in]."""
    return (weights.square()[:, None, :] @ x.float().square()).squeeze(1)


def _sink_share(model: LoadedModel, tokens: Tensor) -> Tensor:
    """phi [B, S] of a forward pass over ``tokens``."""
    with record_attention(model) as recorder:
        model.logits(tokens)
        return sink_weights(recorder.collect().received).to(tokens.device)


def add_batch(found: dict[str, RootMeanSquare], inputs: dict[str, Tensor], weights: Tensor) -> None:
    """One batch into every layer's statistic; layers that follow one another and share their input (q, k, v) share the
    work."""
    last, measured = None, None
    for name, x in inputs.items():
        if last != (x.data_ptr(), x.shape):
            measured = None  # a Gram matrix goes before the next one comes
            if x.numel() != weights.numel() * x.shape[-1]:
                raise ModelProblem(
                    f"{name} is applied to {x.numel() // x.shape[-1]} rows where texts have {weights.numel()} tokens; "
                    "its inputs (positions, parts of tokens) say nothing of single tokens. Prune by magnitude."
                )
            measured = found[name].measure(x.view(*weights.shape, -1), weights.to(x.device))
            check_finite(measured, "the calibration statistic", name)
            last = x.data_ptr(), x.shape
        found[name].add(required(measured, "what was measured"), len(weights))


@contextmanager
def inputs_of(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Keeps the input of every module, [B, S, in], for one forward pass; an expert's as [B * S, in], zero for the
    tokens that other experts got."""
    inputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable:
        def hook(module: nn.Module, args: tuple) -> None:
            routed = getattr(module, "routed", None)
            inputs[name] = args[0].detach() if routed is None else routed.spread(args[0].detach())

        return hook

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
) -> tuple[list[Tensor], dict[tuple[int, ...], list[dict[str, Any]]]]:
    """Inputs of the first block per batch, and for each shape of a batch the other arguments every block is called with
    (positions, attention mask): these do not depend on the tokens, for no row is padded."""
    hidden: list[Tensor] = []
    calls: dict[tuple[int, ...], list[dict[str, Any]]] = {}
    for tokens, _ in data.batches(rows):
        known, seen = tuple(tokens.shape) in calls, []

        def look(module: nn.Module, args: tuple, kwargs: dict, known: bool = known, seen: list = seen) -> None:
            if not seen:
                hidden.append(args[0] if args else kwargs["hidden_states"])
            if known:
                raise _Stop
            names = list(inspect.signature(module.forward).parameters)[1:]
            given = {**dict(zip(names, args[1:], strict=False)), **kwargs}  # some classes pass by position
            seen.append({k: v for k, v in given.items() if k not in ("hidden_states", "past_key_values")})

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
            calls[tuple(tokens.shape)] = seen
    return hidden, calls


def run_block(block: nn.Module, hidden: Tensor, kwargs: dict[str, Any]) -> Tensor:
    out = block(hidden, **kwargs)
    return out[0] if isinstance(out, tuple) else out
