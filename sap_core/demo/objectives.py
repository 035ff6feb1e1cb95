"""The two training losses, in nats per token, each as a sum of parts that can be computed side by side.

Autoregressive: mean -ln p(next token); the tokens of an answer count several times, for they are two in a hundred.

In both, a word that can be looked up (a name, colour, thing, place or animal that stands elsewhere in sight) counts
more, the rarer its kind the more: about ten tokens in a hundred, they are what a story is right or wrong by, and
without the weights the rare kinds are learned last. Every loss is still least at the true distribution of each token.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from sap_core.demo.batches import Batch, token_ids
from sap_core.demo.templates import WORD_CLASS

ANSWER_WEIGHT = 4.0
#: What a word that can be looked up counts, by its class: about the inverse of how often it has to be.
LOOK_UP_WEIGHT = {"NAME": 2.0, "OBJECT": 3.0, "COLOUR": 6.0, "PLACE": 6.0, "ANIMAL": 9.0}
#: Share of the diffusion rows whose beginning stays in sight.
PROMPTED = 0.3


def causal_losses(model, batch: Batch, pad_id: int, parts: int) -> list[Callable[[], Tensor]]:
    """`parts` functions whose values add up to the batch's loss."""
    tokens = torch.from_numpy(batch.tokens)
    position = torch.arange(1, tokens.shape[1])
    weight = (tokens[:, 1:] != pad_id).float()
    in_task = (position >= torch.from_numpy(batch.task_start)[:, None]) & (
        position < torch.from_numpy(batch.text_length)[:, None]
    )
    weight = weight * torch.where(in_task, ANSWER_WEIGHT, 1.0)
    weight = weight * look_up_weights(tokens, torch.ones_like(tokens, dtype=torch.bool), causal=True)[:, 1:]
    weight = weight / weight.sum()

    def loss(rows: Tensor, row_weight: Tensor) -> Tensor:
        logits = model(input_ids=rows[:, :-1], use_cache=False).logits
        each = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="none")
        return each @ row_weight.flatten()

    return [lambda r=r, w=w: loss(r, w) for r, w in zip(tokens.chunk(parts), weight.chunk(parts), strict=True)]


def masked_losses(
    model, batch: Batch, mask_id: int, generator: torch.Generator, ceiling: float, parts: int
) -> list[Callable[[], Tensor]]:
    """`parts` functions whose values add up to the batch's loss; the masks are drawn at once, from `generator`.

    `ceiling`: largest share of a text that is masked, see `mask_ceiling`.
    """
    tokens = torch.from_numpy(batch.tokens)
    masked = draw_masks(batch, generator, ceiling)
    weight = masked / masked.sum(1, keepdim=True)
    weight = weight * look_up_weights(tokens, ~masked, causal=False)
    weight = weight / weight.sum()

    def loss(rows: Tensor, hidden: Tensor, row_weight: Tensor) -> Tensor:
        logits = model(input_ids=rows.masked_fill(hidden, mask_id), use_cache=False).logits
        each = F.cross_entropy(logits[hidden], rows[hidden], reduction="none")
        return each @ row_weight[hidden]

    shares = zip(tokens.chunk(parts), masked.chunk(parts), weight.chunk(parts), strict=True)
    return [lambda r=r, h=h, w=w: loss(r, h, w) for r, h, w in shares]


def look_up_weights(tokens: Tensor, visible: Tensor, causal: bool) -> Tensor:
    """(batch, length): LOOK_UP_WEIGHT where the same word is in sight (for a causal model: further left), else 1."""
    same = (tokens[:, :, None] == tokens[:, None, :]) & visible[:, None, :]
    if causal:
        same = same.tril(-1)
    weights = _class_weights()[tokens]
    return torch.where(same.any(-1), weights, 1.0)


@lru_cache(maxsize=1)
def _class_weights() -> Tensor:
    """(vocabulary,)"""
    return torch.tensor([LOOK_UP_WEIGHT.get(WORD_CLASS.get(word), 1.0) for word in token_ids()])


def mask_ceiling(progress: float) -> float:
    """Largest share of a text to mask at this share of the training: half at first, all from its middle on.

    Where most of a text is masked, little can be learned about looking words up: what kind of word is missing is not
    known, nor is what to look up in sight. With half in sight both are, and it is learned in about half the steps.
    """
    return min(1.0, 0.5 + 0.5 * max(0.0, progress - 0.15) / 0.35)


def draw_masks(batch: Batch, generator: torch.Generator, ceiling: float = 1.0) -> Tensor:
    """(batch, length) bool: which tokens the model has to fill in."""
    rows, length = batch.tokens.shape
    text_length, task_start = torch.from_numpy(batch.text_length), torch.from_numpy(batch.task_start)
    # where the masked region of each row begins: 0, or for a prompted row a random place in the text or its task part
    somewhere = (torch.rand(rows, generator=generator) * text_length).long()
    at_task = (task_start < text_length) & (torch.rand(rows, generator=generator) < 0.5)
    prompted = torch.rand(rows, generator=generator) < PROMPTED
    start = torch.where(prompted, torch.where(at_task, task_start, somewhere), 0)
    region = length - start
    # stratified: one k from each of `rows` equal slices of 1..n
    slot = torch.randperm(rows, generator=generator)
    share = (slot + torch.rand(rows, generator=generator)) / rows
    k = torch.minimum((share * ceiling * region).long() + 1, region)
    score = torch.rand(rows, length, generator=generator)
    score[torch.arange(length) < start[:, None]] = 2.0
    return score.argsort(1).argsort(1) < k[:, None]
