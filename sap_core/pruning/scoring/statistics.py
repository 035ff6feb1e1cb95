"""Statistics of the calibration inputs of every linear layer: norms of the input columns, or the Gram matrix.

There are two ways to measure. `one_shot` sees every layer of the dense model in one forward pass per batch.
`block_by_block` feeds each block with the outputs of the blocks before it, after they have been pruned. Symbols: N rows
of S tokens; X the inputs of one linear layer for one row, [S, in]; w one weight per token.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...attention.recorder import record_attention
from ...errors import ModelProblem, required
from ...progress import Progress, ProgressCallback, silent
from .finite import check_finite
from .module_inputs import first_block_inputs, inputs_of, run_block
from .sink_weighting import sink_weights

if TYPE_CHECKING:
    from ...models.loaded import LoadedModel

# Values of activations held at once while a forward pass runs; bounds memory at about 1 GB in float32.
_HELD_VALUES = 1 << 28
ROWS_AT_ONCE = 16


@dataclass(frozen=True)
class TokenRows:
    """Rows of tokens as a rectangle.

    Attributes:
        tokens: int64 [N, S].
        weights: float [N, S], the weight of each token.
        lengths: (N,), the visible length of each row, by default S; rows of equal length are adjacent. A batch holds
            rows of one length, cut to it, so that no model sees padding.
    """

    tokens: Int[Tensor, "row token"]
    weights: Float[Tensor, "row token"]
    lengths: Sequence[int] = ()

    def __post_init__(self) -> None:
        if not len(self.lengths):
            object.__setattr__(self, "lengths", [self.tokens.shape[1]] * len(self.tokens))

    def parts(self, rows: int) -> Iterator[tuple[slice, int]]:
        """Yield (slice of rows, their length) of every batch of at most ``rows`` rows."""
        start = 0
        for stop in range(1, len(self.lengths) + 1):
            ends = stop == len(self.lengths) or self.lengths[stop] != self.lengths[start]
            if ends or stop - start == rows:
                yield slice(start, stop), int(self.lengths[start])
                start = stop

    def batches(self, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (tokens, weights) of every batch."""
        return ((self.tokens[part, :length], self.weights[part, :length]) for part, length in self.parts(rows))

    def weighted(self, factor: Float[Tensor, "row token"]) -> TokenRows:
        """Return the rows with each token's weight multiplied by ``factor`` [N, S]."""
        return replace(self, weights=self.weights * factor)


class RootMeanSquare:
    """Root mean square over rows of ||w * X_j||, [in]: Wanda's statistic."""

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.rows = 0

    @staticmethod
    def measure(
        x: Float[Tensor, "batch token input"], weights: Float[Tensor, "batch token"]
    ) -> Float[Tensor, " input"]:
        """Return the statistic of one batch, x [B, S, in] and weights [B, S]; layers with the same input share it."""
        return _squared_norms(x, weights).sum(0)

    def add(self, measured: Tensor, rows: int) -> None:
        """Add the result of `measure` for a batch of ``rows`` rows."""
        # Its own copy, for layers share what was measured, and then in place: a Gram matrix is large.
        self.total = measured.clone() if self.total is None else self.total.add_(measured)
        self.rows += rows

    def result(self) -> Float[Tensor, " ..."]:
        """Return the statistic over all rows added so far."""
        return (required(self.total, "the statistic") / self.rows).sqrt()


class SumOfNorms(RootMeanSquare):
    """Sum over rows of ||w * X_j||, [in]: the statistic of the sink-aware paper's code."""

    @staticmethod
    def measure(
        x: Float[Tensor, "batch token input"], weights: Float[Tensor, "batch token"]
    ) -> Float[Tensor, " input"]:
        """Return the sum of ||w * X_j|| over the rows of a batch, [in]."""
        return _squared_norms(x, weights).sqrt().sum(0)

    def result(self) -> Tensor:
        """Return the sum over all rows, [in]."""
        return required(self.total, "the statistic")


class Gram(RootMeanSquare):
    """H = (2 / N) * sum over rows of (w X)^T (w X), [in, in]: SparseGPT's Hessian of the layer's squared error."""

    @staticmethod
    def measure(
        x: Float[Tensor, "batch token input"], weights: Float[Tensor, "batch token"]
    ) -> Float[Tensor, "input input"]:
        """Return the sum of (w X)^T (w X) over the rows of a batch, [in, in]."""
        flat = (x.float() * weights[..., None]).flatten(0, 1)
        return flat.T @ flat

    def result(self) -> Tensor:
        """Return H, [in, in]."""
        return required(self.total, "the statistic").mul_(2 / self.rows)  # in place: asked for once


class Moments(RootMeanSquare):
    """Mean and variance of each input column over all tokens that count, [2, in]."""

    @staticmethod
    def measure(
        x: Float[Tensor, "batch token input"], weights: Float[Tensor, "batch token"]
    ) -> Float[Tensor, "3 input"]:
        """Return the sums that mean and variance are made of, for one batch."""
        flat, w = x.float().flatten(0, 1), weights.flatten()[:, None]
        return torch.stack([(flat * w).sum(0), (flat.square() * w).sum(0), w.sum().expand(flat.shape[1])])

    def result(self) -> Float[Tensor, "2 input"]:
        """Return mean and variance, [2, in]."""
        total = required(self.total, "the statistic")
        mean, square = total[0] / total[2], total[1] / total[2]
        return torch.stack([mean, (square - mean.square()).clamp(min=0)])


Statistic = type[RootMeanSquare]
Phi = Callable[[Tensor], Tensor]  # received attention [B, L, H, S] -> how much of a sink each position is, [B, S]


def one_shot(
    model: LoadedModel,
    data: TokenRows,
    statistic: Statistic,
    *,
    sinks: Phi | None = None,
    progress: ProgressCallback = silent,
) -> dict[str, Tensor]:
    """Return the statistic of every prunable linear layer of the dense model, by name.

    Args:
        model: The dense model.
        data: The calibration rows.
        statistic: Which statistic.
        sinks: Weight every token's activations by (1 - phi), with phi measured in the same forward pass, so that one
            pass is enough where the published code needs two.
        progress: Called after every batch.
    """
    modules = {name: module for layer in range(len(model.blocks)) for name, module in model.linears(layer).items()}
    found = {name: statistic() for name in modules}
    rows = rows_at_once(data.tokens.shape[1], modules.values())
    total = sum(1 for _ in data.parts(rows))
    for done, (tokens, weights) in enumerate(data.batches(rows)):
        with torch.no_grad(), inputs_of(modules) as inputs:
            if sinks is not None:
                weights = weights * (1 - _sink_share(model, tokens, sinks))
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
    """Call ``prune_block(layer, statistic by name)`` for every block, first to last.

    What it changes in a block is what the later blocks see.

    Args:
        model: The model that is pruned in place.
        data: The calibration rows.
        statistic: Which statistic.
        prune_block: Called with the layer and the statistic of its matrices.
        names: Matrices that are measured; None: all.
        progress: Called after every block.
    """
    rows = rows_at_once(data.tokens.shape[1], model.linears(0).values())
    hidden, calls = first_block_inputs(model, (tokens for tokens, _ in data.batches(rows)))
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


def sink_shares(
    model: LoadedModel, data: TokenRows, phi: Phi = sink_weights, progress: ProgressCallback = silent
) -> Float[Tensor, "row token"]:
    """Return phi [N, S] of the rows on the dense model; 0 beyond a row's length."""
    parts = list(data.parts(ROWS_AT_ONCE))
    shares = torch.zeros_like(data.weights)
    for done, (part, length) in enumerate(parts):
        shares[part, :length] = _sink_share(model, data.tokens[part, :length], phi)
        progress(Progress("sinks", done + 1, len(parts)))
    return shares


def rows_at_once(length: int, modules: Iterable[nn.Linear]) -> int:
    """Return the batch size that keeps the held activations within bounds."""
    width = sum(module.in_features for module in modules)
    return max(1, min(ROWS_AT_ONCE, _HELD_VALUES // (length * width)))


def _squared_norms(
    x: Float[Tensor, "batch token input"], weights: Float[Tensor, "batch token"]
) -> Float[Tensor, "batch input"]:
    """Return ||w * X_j||^2 of every row of the batch, [B, in]."""
    return (weights.square()[:, None, :] @ x.float().square()).squeeze(1)


def _sink_share(model: LoadedModel, tokens: Tensor, phi: Phi) -> Tensor:
    """Phi [B, S] of a forward pass over ``tokens``; a start token that a model puts before them is left out."""
    with record_attention(model) as recorder:
        model.logits(tokens)
        return phi(recorder.collect().received[..., -tokens.shape[1] :]).to(tokens.device)


def add_batch(found: dict[str, RootMeanSquare], inputs: dict[str, Tensor], weights: Tensor) -> None:
    """Add one batch to every layer's statistic.

    Layers that follow one another and share their input (q, k, v) share the computation.
    """
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
