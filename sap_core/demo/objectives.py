"""The two training losses, in nats per token, each as a sum of parts that can be computed side by side.

Autoregressive: mean -ln p(next token); the tokens of an answer count several times, for they are two in a hundred.

In both, the words that a story must keep to (names, colours, things, places, animals, pronouns: the ones a model has to
look back for) count `LOOK_BACK_WEIGHT` times once `weighted` is set. Every loss is still least for the true
distribution of each token; only the attention that the tokens get in training differs.

Masked diffusion, in the low-variance form of LLaDA (Nie et al. 2502.09992, their eq. 14): with exactly k of n tokens
masked and k uniform on 1..n, the bound is E_k[(n/k) * sum over masked of -ln p] / n, which is the mean over the masked
tokens alone. k is stratified over the batch. Part of the rows keep their beginning in sight (a prompt, or everything
before the answer or summary) and mask only what follows: the bound of that conditional.
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
LOOK_BACK_WEIGHT = 3.0
#: Share of the diffusion rows whose beginning stays in sight.
PROMPTED = 0.3


def causal_losses(model, batch: Batch, pad_id: int, weighted: bool, parts: int) -> list[Callable[[], Tensor]]:
    """`parts` functions whose values add up to the batch's loss."""
    tokens = torch.from_numpy(batch.tokens)
    position = torch.arange(1, tokens.shape[1])
    weight = (tokens[:, 1:] != pad_id).float()
    in_task = (position >= torch.from_numpy(batch.task_start)[:, None]) & (
        position < torch.from_numpy(batch.text_length)[:, None])
    weight = weight * torch.where(in_task, ANSWER_WEIGHT, 1.0)
    if weighted:
        weight = weight * token_weights()[tokens[:, 1:]]
    weight = weight / weight.sum()

    def loss(rows: Tensor, row_weight: Tensor) -> Tensor:
        logits = model(input_ids=rows[:, :-1], use_cache=False).logits
        each = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="none")
        return each @ row_weight.flatten()

    return [lambda r=r, w=w: loss(r, w) for r, w in zip(tokens.chunk(parts), weight.chunk(parts), strict=True)]


def masked_losses(model, batch: Batch, mask_id: int, generator: torch.Generator, weighted: bool,
                  parts: int) -> list[Callable[[], Tensor]]:
    """`parts` functions whose values add up to the batch's loss; the masks are drawn at once, from `generator`."""
    tokens = torch.from_numpy(batch.tokens)
    masked = draw_masks(batch, generator)
    weight = masked / masked.sum(1, keepdim=True)
    if weighted:
        heavy = weight * token_weights()[tokens]
        weight = heavy * (weight.sum() / heavy.sum())
    weight = weight / len(tokens)

    def loss(rows: Tensor, hidden: Tensor, row_weight: Tensor) -> Tensor:
        logits = model(input_ids=rows.masked_fill(hidden, mask_id), use_cache=False).logits
        each = F.cross_entropy(logits[hidden], rows[hidden], reduction="none")
        return each @ row_weight[hidden]

    shares = zip(tokens.chunk(parts), masked.chunk(parts), weight.chunk(parts), strict=True)
    return [lambda r=r, h=h, w=w: loss(r, h, w) for r, h, w in shares]


@lru_cache(maxsize=1)
def token_weights() -> Tensor:
    """(vocabulary,): LOOK_BACK_WEIGHT for the words that are drawn from a list or follow a gender, else 1."""
    return torch.tensor([LOOK_BACK_WEIGHT if word in WORD_CLASS else 1.0 for word in token_ids()])


def draw_masks(batch: Batch, generator: torch.Generator) -> Tensor:
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
    k = torch.minimum((share * region).long() + 1, region)
    score = torch.rand(rows, length, generator=generator)
    score[torch.arange(length) < start[:, None]] = 2.0
    return score.argsort(1).argsort(1) < k[:, None]
