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
from collections.abc import Iterator
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
    per_text = draws if model.is_diffusion else 1
    found = np.zeros((2, len(rows), per_text))
    done = 0
    for some in scored_passes(model, rows, draws=draws, seed=seed):
        logits = model.logits(some.inputs.to(model.device))
        other = None if reference is None else reference.logits(some.inputs.to(reference.device))
        found[:, some.texts, some.draws] = some.losses(logits, other)
        done += len(some.texts)
        progress(Progress("likelihood", done // per_text, len(rows)))
    nats, kl = found.mean(2)
    kind = "bound" if model.is_diffusion else "exact"
    return Losses(nats, counted, kind, None if reference is None else kl)


@dataclass(frozen=True)
class ScoredPass:
    """One forward pass of the likelihood: some draws of some texts of one length, n rows.

    Attributes:
        texts: [n], number of each row's text.
        draws: [n], number of its draw; 0 for an autoregressive model.
        inputs: [n, S], what the model sees.
        targets: [n, S], the token that each row of the logits is to predict.
        where: [n, S], which of them count.
        scale: [n], what the mean over the counting positions is multiplied by: the scored tokens of the text.
    """

    texts: Int[np.ndarray, " n"]
    draws: Int[np.ndarray, " n"]
    inputs: Int[Tensor, "n position"]
    targets: Int[Tensor, "n position"]
    where: Bool[Tensor, "n position"]
    scale: Int[np.ndarray, " n"]

    def losses(
        self, logits: Float[Tensor, "n position vocabulary"], other: Float[Tensor, "n position vocabulary"] | None
    ) -> Float[np.ndarray, "2 n"]:
        """Return nats, and the KL divergence from the predictions ``other`` (0 without), of each row's whole text."""
        where = self.where.to(logits.device)
        picked = None if other is None else other[self.where.to(other.device)]
        result = np.zeros((2, len(self.texts)))
        for number, each in enumerate(_each(logits[where], self.targets.to(logits.device)[where], picked)):
            per_row = torch.zeros(len(self.texts), dtype=torch.float64)
            per_row.index_add_(0, self.where.nonzero()[:, 0], each)
            result[number] = per_row.numpy() / self.where.sum(1).clamp(min=1).numpy() * self.scale
        return result


def scored_passes(
    model: LoadedModel, rows: list[TextRow], *, draws: int, seed: int, at_once: int | None = None
) -> Iterator[ScoredPass]:
    """Yield the forward passes of the likelihood, which are the same for every model of this objective.

    ``at_once``: rows of one pass, at most; default: what keeps the logits within 256 MB.

    Raises:
        ModelProblem: a diffusion model without mask token.
    """
    groups: dict[int, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        groups[len(row.tokens)].append(i)
    mask_id = model.check_masked() if model.is_diffusion else None
    for length, members in sorted(groups.items()):
        limit = max(1, min(_ROWS_AT_ONCE, _HELD_LOGITS // (length * model.info.vocab_size), at_once or _ROWS_AT_ONCE))
        drawn = draws if mask_id is not None else 1
        pairs = [(i, draw) for i in members for draw in range(drawn)]
        masks = {i: draw_masks(rows[i].scored, draws, seed, i) for i in members} if mask_id is not None else {}
        for start in range(0, len(pairs), limit):
            texts, numbers = (np.array(part) for part in zip(*pairs[start : start + limit], strict=True))
            tokens = torch.from_numpy(np.stack([rows[i].tokens for i in texts]))
            scored = torch.from_numpy(np.stack([rows[i].scored for i in texts]))
            if mask_id is not None:
                where = torch.stack([masks[i][draw] for i, draw in zip(texts, numbers, strict=True)])
                inputs, targets = tokens.masked_fill(where, mask_id), tokens
                scale = scored.sum(1)
            else:
                where, targets = (torch.zeros_like(part) for part in (scored, tokens))
                where[:, :-1], targets[:, :-1] = scored[:, 1:], tokens[:, 1:]
                inputs, scale = tokens, where.sum(1)
            yield ScoredPass(texts, numbers, inputs, targets, where, scale.numpy())


def draw_masks(
    scored: Bool[np.ndarray, " position"], draws: int, seed: int, index: int
) -> Bool[Tensor, "draw position"]:
    """Return bool [draws, S]: for draw d, k = floor((d + u) / draws * n) + 1 of the n scored positions; u uniform.

    It depends only on the seed and the text's index, and is therefore equal for all models.
    """
    generator = np.random.default_rng((seed, index))
    indices = np.flatnonzero(scored)
    share = (np.arange(draws) + generator.random(draws)) / draws
    masks = np.zeros((draws, len(scored)), bool)
    for draw, k in enumerate((share * len(indices)).astype(int) + 1):
        masks[draw, generator.permutation(indices)[:k]] = True
    return torch.from_numpy(masks)


def _each(
    logits: Float[Tensor, "n vocabulary"], targets: Int[Tensor, " n"], other: Float[Tensor, "n vocabulary"] | None
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Return (-ln q(target), KL from ``other``'s distribution p, zero without one) of each row, float64 on the CPU."""
    nats = cross_entropy(logits, targets, reduction="none").double().cpu()
    if other is None:
        return nats, torch.zeros_like(nats)
    p, q = other.to(logits.device).log_softmax(-1), logits.log_softmax(-1)
    return nats, kl_div(q, p, log_target=True, reduction="none").sum(-1).double().clamp(min=0).cpu()
