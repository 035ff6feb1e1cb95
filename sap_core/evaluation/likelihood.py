"""How well a model predicts texts, in nats per token, with a standard error; pairs of models on the same masks.

Masked diffusion: the bound of METRICS section 7 in its low-variance form (LLaDA, Nie et al. 2502.09992, eq. 14): with
exactly k of the n positions masked, k uniform on 1..n, E_k[(n / k) * sum over masked of -ln p]. k is stratified over
the draws of a text; which positions is drawn from a seeded generator, so every model meets the same masks.
Autoregressive: the exact sum of -ln p(token | those before it).
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..errors import InvalidInput, OperationFailed
from ..progress import Progress, ProgressCallback, silent
from .texts import TextRow

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel

# Float32 logits held at once, about 256 MB.
_HELD_LOGITS = 1 << 26
_ROWS_AT_ONCE = 32


@dataclass(frozen=True)
class Losses:
    """``nats`` [texts]: what each text costs in all; ``counted`` [texts]: its tokens; ``kind``: "bound" or "exact"."""

    nats: np.ndarray
    counted: np.ndarray
    kind: str

    def __post_init__(self) -> None:
        if not np.isfinite(self.nats).all():
            worst = int(np.flatnonzero(~np.isfinite(self.nats))[0])
            raise OperationFailed(
                f"the loss of text {worst + 1} of {len(self.nats)} is not finite (NaN or infinity): the model gives no "
                "probabilities there, as where every token is masked in a model that divides by the unmasked ones, or "
                "its numbers leave the range of the precision."
            )

    def summary(self) -> dict[str, Any]:
        """nats_per_token, its standard_error over texts, perplexity = exp of it, kind, texts, tokens."""
        mean, error = ratio(self.nats, self.counted)
        return {
            "nats_per_token": mean,
            "standard_error": error,
            "perplexity": math.exp(min(mean, 700.0)),
            "kind": self.kind,
            "texts": len(self.nats),
            "tokens": int(self.counted.sum()),
        }

    def minus(self, other: Losses) -> dict[str, float]:
        """This model's nats per token minus the other's, text by text, with the standard error of the difference.

        Raises:
            InvalidInput: the two were not measured on the same texts, or are of different kinds.
        """
        if self.kind != other.kind or not np.array_equal(self.counted, other.counted):
            raise InvalidInput(
                "the two models can't be compared pair by pair: they need one objective and one tokenizer."
            )
        mean, error = ratio(self.nats - other.nats, self.counted)
        return {"nats_per_token": mean, "standard_error": error}


def text_likelihood(
    model: LoadedModel, rows: list[TextRow], *, draws: int, seed: int, progress: ProgressCallback = silent
) -> Losses:
    """What every text costs ``model``. ``draws``: masks per text; an autoregressive model needs none.

    Raises:
        ModelProblem: a diffusion model without mask token.
    """
    counted = np.array([row.counted for row in rows])
    groups: dict[int, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        groups[len(row.tokens)].append(i)
    nats = np.zeros(len(rows))
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
                nats[some] = _exact(model, tokens, scored)
            else:
                masked = torch.stack([draw_masks(rows[i].scored, draws, seed, i) for i in some])
                nats[some] = _bound(model, tokens, masked, scored, mask_id)
            done += len(some)
            progress(Progress("likelihood", done, len(rows)))
    return Losses(nats, counted, "exact" if mask_id is None else "bound")


def draw_masks(scored: np.ndarray, draws: int, seed: int, index: int) -> Tensor:
    """bool [draws, S]: for draw d, k = floor((d + u) / draws * n) + 1 of the n scored positions; u uniform.

    Depends on the seed and the text's index alone, hence equal for all models.
    """
    generator = np.random.default_rng((seed, index))
    places = np.flatnonzero(scored)
    share = (np.arange(draws) + generator.random(draws)) / draws
    masks = np.zeros((draws, len(scored)), bool)
    for draw, k in enumerate((share * len(places)).astype(int) + 1):
        masks[draw, generator.permutation(places)[:k]] = True
    return torch.from_numpy(masks)


def ratio(amount: np.ndarray, per: np.ndarray) -> tuple[float, float]:
    """sum(amount) / sum(per) and its standard error over samples (the usual ratio estimator; 0 for one sample)."""
    mean = float(amount.sum() / per.sum())
    if len(amount) < 2:
        return mean, 0.0
    residual = amount - mean * per
    return mean, float(math.sqrt(residual.var(ddof=1) / len(amount)) / per.mean())


def _bound(model: LoadedModel, tokens: Tensor, masked: Tensor, scored: Tensor, mask_id: int) -> np.ndarray:
    """Nats of each text: n times the mean over draws of the mean loss of the masked tokens. ``masked`` [B, D, S]."""
    batch, draws, length = masked.shape
    repeated = tokens[:, None].expand(batch, draws, length)
    flat = repeated.masked_fill(masked, mask_id).flatten(0, 1)
    nats = np.zeros((batch, draws))
    limit = max(1, _HELD_LOGITS // (length * model.info.vocab_size))
    for start in range(0, len(flat), limit):
        some = slice(start, start + limit)
        where = masked.flatten(0, 1)[some]
        logits = model.logits(flat[some].to(model.device))
        here = where.to(logits.device)
        each = cross_entropy(logits[here], repeated.flatten(0, 1)[some][where].to(logits.device), reduction="none")
        per_row = torch.zeros(len(where), dtype=torch.float64)
        per_row.index_add_(0, where.nonzero()[:, 0], each.double().cpu())
        nats.reshape(-1)[some] = (per_row / where.sum(1)).numpy()
    return nats.mean(1) * scored.sum(1).numpy()


def _exact(model: LoadedModel, tokens: Tensor, scored: Tensor) -> np.ndarray:
    """Nats of each text: row i of the logits predicts token i + 1."""
    logits = model.logits(tokens.to(model.device))[:, :-1]
    targets = tokens[:, 1:].to(logits.device)
    each = cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
    return (each.double().cpu() * scored[:, 1:]).sum(1).numpy()
