"""Likelihood of texts in nats per token, with a standard error; pairs of models on the same masks.

Masked diffusion: the bound of METRICS section 7 in its low-variance form (LLaDA, Nie et al. 2502.09992, eq. 14): with
exactly k of the n positions masked, k uniform on 1..n, E_k[(n / k) * sum over masked of -ln p]. k is stratified over
the draws of a text; the positions are drawn from a seeded generator, so every model gets the same masks.
Autoregressive: the exact sum of -ln p(token | those before it).

KL to another model on the same rows, METRICS section 9: at every position that is predicted, sum over the vocabulary of
p ln(p / q), p the reference's distribution and q the model's, averaged with the weights of the likelihood. It needs no
labels: it measures how far the predictions moved, whether or not the model should predict the text.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div

from ..errors import InvalidInput, OperationFailed
from ..progress import Progress, ProgressCallback, silent
from ..sinks.intervals import ratio_interval
from ..texts.rows import TextRow

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel

# Float32 logits held at once, about 256 MB.
_HELD_LOGITS = 1 << 26
_ROWS_AT_ONCE = 32


@dataclass(frozen=True)
class Losses:
    """Losses of a model on texts.

    Attributes:
        nats: [texts], of each text in all.
        counted: [texts], its tokens.
        kind: "bound" or "exact".
        kl: [texts], KL divergence from the reference in nats, in all; None without a reference.
    """

    nats: np.ndarray
    counted: np.ndarray
    kind: str
    kl: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not np.isfinite(self.nats).all():
            worst = int(np.flatnonzero(~np.isfinite(self.nats))[0])
            raise OperationFailed(
                f"the loss of text {worst + 1} of {len(self.nats)} is not finite (NaN or infinity): the model gives no "
                "probabilities there, as where every token is masked in a model that divides by the unmasked ones, or "
                "its numbers leave the range of the precision."
            )

    def summary(self) -> dict[str, Any]:
        """Return the nats per token with standard error and 95 % interval over texts.

        Keys: nats_per_token, standard_error, low, high (None for one text), perplexity = exp of it, kind, texts,
        tokens.
        """
        found = ratio_interval(self.nats, self.counted, at_least=0.0)
        return found.named("nats_per_token") | {
            "perplexity": math.exp(min(found.value, 700.0)),
            "kind": self.kind,
            "texts": len(self.nats),
            "tokens": int(self.counted.sum()),
        }

    def minus(self, other: Losses) -> dict[str, float | None]:
        """Return this model's nats per token minus the other's, text by text, with standard error and 95 % interval.

        Both are None for one text.

        Raises:
            InvalidInput: the two were not measured on the same texts, or are of different kinds.
        """
        if self.kind != other.kind or not np.array_equal(self.counted, other.counted):
            raise InvalidInput(
                "the two models can't be compared pair by pair: they need one objective and one tokenizer."
            )
        return ratio_interval(self.nats - other.nats, self.counted).named("nats_per_token")

    def divergence(self) -> dict[str, float | None] | None:
        """Return the KL divergence from the reference, {"nats_per_token", "standard_error", "low", "high"}."""
        if self.kl is None:
            return None
        return ratio_interval(self.kl, self.counted, at_least=0.0).named("nats_per_token")


def text_likelihood(
    model: LoadedModel,
    rows: list[TextRow],
    *,
    draws: int,
    seed: int,
    reference: LoadedModel | None = None,
    progress: ProgressCallback = silent,
) -> Losses:
    """Return the loss of ``model`` on every text.

    Args:
        model: The model to measure.
        rows: The texts.
        draws: Masks per text; an autoregressive model needs none.
        seed: Seed of the masks.
        reference: The model that the KL divergence is taken from, of the same vocabulary.
        progress: Called after every batch.

    Raises:
        ModelProblem: a diffusion model without mask token.
    """
    counted = np.array([row.counted for row in rows])
    groups: dict[int, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        groups[len(row.tokens)].append(i)
    nats, kl = np.zeros(len(rows)), np.zeros(len(rows))
    mask_id = model.check_masked() if model.is_diffusion else None
    done = 0
    for length, members in sorted(groups.items()):
        repeats = draws if mask_id is not None else 1
        at_once = max(1, min(_ROWS_AT_ONCE, _HELD_LOGITS // (length * model.info.vocab_size)) // repeats)
        for start in range(0, len(members), at_once):
            some = members[start : start + at_once]
            tokens = torch.from_numpy(np.stack([rows[i].tokens for i in some]))
            scored = torch.from_numpy(np.stack([rows[i].scored for i in some]))
            if mask_id is None:
                nats[some], kl[some] = _exact(model, reference, tokens, scored)
            else:
                masked = torch.stack([draw_masks(rows[i].scored, draws, seed, i) for i in some])
                nats[some], kl[some] = _bound(model, reference, tokens, masked, scored, mask_id)
            done += len(some)
            progress(Progress("likelihood", done, len(rows)))
    return Losses(nats, counted, "exact" if mask_id is None else "bound", None if reference is None else kl)


def draw_masks(
    scored: Bool[np.ndarray, " position"], draws: int, seed: int, index: int
) -> Bool[Tensor, "draw position"]:
    """Return bool [draws, S]: for draw d, k = floor((d + u) / draws * n) + 1 of the n scored positions; u uniform.

    It depends only on the seed and the text's index, and is therefore equal for all models.
    """
    generator = np.random.default_rng((seed, index))
    places = np.flatnonzero(scored)
    share = (np.arange(draws) + generator.random(draws)) / draws
    masks = np.zeros((draws, len(scored)), bool)
    for draw, k in enumerate((share * len(places)).astype(int) + 1):
        masks[draw, generator.permutation(places)[:k]] = True
    return torch.from_numpy(masks)


def _bound(
    model: LoadedModel,
    reference: LoadedModel | None,
    tokens: Int[Tensor, "batch position"],
    masked: Bool[Tensor, "batch draw position"],
    scored: Bool[Tensor, "batch position"],
    mask_id: int,
) -> tuple[Float[np.ndarray, " batch"], Float[np.ndarray, " batch"]]:
    """Return (nats, KL) of each text: n times the mean over draws of the mean over the masked tokens.

    ``masked``: bool [B, D, S].
    """
    batch, draws, length = masked.shape
    repeated = tokens[:, None].expand(batch, draws, length)
    flat = repeated.masked_fill(masked, mask_id).flatten(0, 1)
    found = np.zeros((2, batch * draws))
    limit = max(1, _HELD_LOGITS // (length * model.info.vocab_size))
    for start in range(0, len(flat), limit):
        some = slice(start, start + limit)
        where = masked.flatten(0, 1)[some]
        inputs = flat[some].to(model.device)
        logits = model.logits(inputs)
        here = where.to(logits.device)
        logits = logits[here]
        targets = repeated.flatten(0, 1)[some][where].to(logits.device)
        other = None if reference is None else reference.logits(inputs.to(reference.device))[where.to(reference.device)]
        for place, each in enumerate(_each(logits, targets, other)):
            per_row = torch.zeros(len(where), dtype=torch.float64)
            per_row.index_add_(0, where.nonzero()[:, 0], each)
            found[place, some] = (per_row / where.sum(1)).numpy()
    nats, kl = found.reshape(2, batch, draws).mean(2) * scored.sum(1).numpy()
    return nats, kl


def _exact(
    model: LoadedModel,
    reference: LoadedModel | None,
    tokens: Int[Tensor, "batch position"],
    scored: Bool[Tensor, "batch position"],
) -> tuple[Float[np.ndarray, " batch"], Float[np.ndarray, " batch"]]:
    """Return (nats, KL) of each text: row i of the logits predicts token i + 1."""
    logits = model.logits(tokens.to(model.device))[:, :-1]
    targets = tokens[:, 1:].to(logits.device)
    other = None if reference is None else reference.logits(tokens.to(reference.device))[:, :-1].flatten(0, 1)
    nats, kl = (
        (each.view_as(targets).cpu() * scored[:, 1:]).sum(1).numpy()
        for each in _each(logits.flatten(0, 1), targets.flatten(), other)
    )
    return nats, kl


def _each(
    logits: Float[Tensor, "n vocabulary"], targets: Int[Tensor, " n"], other: Float[Tensor, "n vocabulary"] | None
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Return (-ln q(target), KL from ``other``'s distribution p, zero without one) of each row, float64 on the CPU."""
    nats = cross_entropy(logits, targets, reduction="none").double().cpu()
    if other is None:
        return nats, torch.zeros_like(nats)
    p, q = other.to(logits.device).log_softmax(-1), logits.log_softmax(-1)
    return nats, kl_div(q, p, log_target=True, reduction="none").sum(-1).double().clamp(min=0).cpu()
