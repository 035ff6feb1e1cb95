"""Draw tokens from logits, after top-k and nucleus filters, as the published samplers do.

Random numbers are consumed row by row as in the published code: where it draws for every row of the canvas, or of the
block, the same is done here, and the needed rows are selected. A seed therefore gives the tokens that the published
code gives for the same seed on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """The rows of the published code's logits that the given ones correspond to.

    Attributes:
        number: (n,) place of each row among them; None where the published code draws for exactly these rows.
        total: How many there are.
    """

    number: Tensor | None
    total: int

    def of(self, noise: Float[Tensor, " total *vocabulary"]) -> Float[Tensor, " n *vocabulary"]:
        """Return the given rows of ``noise``, which has one row for each of the published code's."""
        return noise if self.number is None else noise[self.number.cpu()]


def exactly(count: int) -> Rows:
    """Return the `Rows` of a sampler that draws for the masked positions alone."""
    return Rows(None, count)


def restrict(
    logits: Float[Tensor, "*rows vocabulary"], top_k: int | None, top_p: float | None, nucleus_first: bool = False
) -> Float[Tensor, "*rows vocabulary"]:
    """Return logits with -inf outside the ``top_k`` highest and outside the nucleus of ``top_p``.

    top_k: l < the k-th highest is removed (ties are kept). top_p: sorted by probability, a token is removed if the sum
    of those before it exceeds p; the first never is. Dream cuts the nucleus first, LLaDA2, SDAR and RND1 last.
    """
    cuts = [(_keep_top_k, top_k), (_keep_top_p, top_p)]
    for cut, value in reversed(cuts) if nucleus_first else cuts:
        if value is not None:
            logits = cut(logits, value)
    return logits


def predict(
    logits: Float[Tensor, "n vocabulary"], temperature: float, generator: torch.Generator, rows: Rows | None = None
) -> Int[Tensor, " n"]:
    """Return one token per row of ``logits`` (n, V): argmax(exp(l) / (-ln u)^T) in float64, u uniform; (n,).

    That is a draw from softmax(l / T), in the form in which LLaDA does it. T = 0 is the plain argmax.
    """
    if not temperature:
        return logits.argmax(-1)
    # Apple GPUs have no float64; the noise is drawn on the CPU in any case.
    exact = logits.double() if logits.device.type != "mps" else logits.cpu().double()
    rows = rows or exactly(len(logits))
    noise = torch.rand((rows.total, logits.shape[-1]), dtype=torch.float64, generator=generator)
    # In logarithms, which do not overflow.
    chance = torch.log(-torch.log(rows.of(noise).to(exact.device)))
    return (exact - temperature * chance).argmax(-1).to(logits.device)


def multinomial(
    shares: Float[Tensor, "n vocabulary"], generator: torch.Generator, rows: Rows | None = None
) -> Int[Tensor, " n"]:
    """Return one token per row of the probabilities ``shares`` (n, V): argmax(p / e), e exponential; (n,).

    torch.multinomial computes the same.
    """
    rows = rows or exactly(len(shares))
    noise = torch.empty((rows.total, shares.shape[-1]), dtype=shares.dtype)
    noise.exponential_(generator=generator)
    return (shares / rows.of(noise).to(shares.device)).argmax(-1)


def probability(logits: Float[Tensor, "n vocabulary"], predicted: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return softmax(l)[x0]; (n,)."""
    return torch.softmax(logits, -1).gather(-1, predicted[:, None])[:, 0]


def _keep_top_k(logits: Tensor, top_k: int) -> Tensor:
    if not 0 < top_k < logits.shape[-1]:
        return logits
    return logits.masked_fill(logits < logits.topk(top_k, -1).values[..., -1:], -torch.inf)


def _keep_top_p(logits: Tensor, top_p: float) -> Tensor:
    if top_p >= 1:
        return logits
    ordered, order = torch.sort(logits, descending=True)
    before = torch.softmax(ordered, -1).cumsum(-1).roll(1, -1)
    before[..., 0] = 0
    return logits.masked_fill(
        torch.zeros_like(logits, dtype=torch.bool).scatter_(-1, order, before > top_p), -torch.inf
    )
