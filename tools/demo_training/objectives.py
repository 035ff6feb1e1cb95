"""The two training losses, in nats per token, each as a sum of parts that can be computed side by side.

Autoregressive: mean -ln p(next token); the tokens of an answer count several times, for they are two in a hundred.

In both, a word that can be looked up (a name, colour, thing, place or animal that stands elsewhere in sight) counts
more, the rarer its kind the more: about ten tokens in a hundred, they are what a story is right or wrong by, and
without the weights the rare kinds are learned last.

A friend is never named as the hero, a second thing is never the first: what is introduced is none of the words of its
kind that were told before. Of all that tells a story from a faulty one, the likelihood alone teaches this last, for a
taken word has a small probability among a dozen. So where a word is introduced, -ln(1 - p(taken words)) is added: the
unlikelihood of Welleck et al. (arXiv 1908.04319), zero at the true distribution, which gives taken words none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from demo_training.batches import Batch, token_ids
from sap_core.models.loaded import shift_back
from sap_core.stories.templates import WORD_CLASS

ANSWER_WEIGHT = 4.0
#: What a word that can be looked up counts, by its class: about the inverse of how often it has to be.
LOOK_UP_WEIGHT = {"NAME": 2.0, "OBJECT": 3.0, "COLOUR": 6.0, "PLACE": 6.0, "ANIMAL": 9.0}
#: What -ln(1 - p(taken words)) counts beside -ln p of the same token, unless a recipe says otherwise.
TAKEN_WEIGHT = 4.0
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
    everything = torch.ones_like(tokens, dtype=torch.bool)
    weight = weight * look_up_weights(tokens, everything, causal=True)[:, 1:]
    weight = weight / weight.sum()
    introduced, taken = taken_words(tokens, everything)

    def loss(rows: Tensor, row_weight: Tensor, new: Tensor, old: Tensor) -> Tensor:
        logits = model(input_ids=rows[:, :-1], use_cache=False).logits
        each = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="none")
        new = new[:, 1:]  # the first word of a text is never one
        return each @ row_weight.flatten() + TAKEN_WEIGHT * _unlikelihood(logits[new], old) @ row_weight[new]

    shares = zip(tokens.chunk(parts), weight.chunk(parts), introduced.chunk(parts), strict=True)
    return [lambda s=s, o=o: loss(*s, o) for s, o in zip(shares, _split(introduced, taken, parts), strict=True)]


def masked_losses(
    seen: Callable[[Tensor], Tensor],
    batch: Batch,
    mask_id: int,
    generator: torch.Generator,
    ceiling: float,
    parts: int,
    favour: float = 1.0,
    taken_weight: float = TAKEN_WEIGHT,
) -> list[Callable[[], Tensor]]:
    """`parts` functions whose values add up to the batch's loss; the masks are drawn at once, from `generator`.

    `seen`: token ids -> logits whose row i predicts token i, such as `open_up` of a model.
    `ceiling`: largest share of a text that is masked, see `mask_ceiling`. `favour`: see `draw_masks`.
    `taken_weight`: what the unlikelihood of taken words counts.
    """
    tokens = torch.from_numpy(batch.tokens)
    masked = draw_masks(batch, generator, ceiling, favour)
    weight = masked / masked.sum(1, keepdim=True)
    weight = weight * look_up_weights(tokens, ~masked, causal=False)
    weight = weight / weight.sum()
    introduced, taken = taken_words(tokens, ~masked)

    def loss(rows: Tensor, hidden: Tensor, row_weight: Tensor, new: Tensor, old: Tensor) -> Tensor:
        logits = seen(rows.masked_fill(hidden, mask_id))
        each = F.cross_entropy(logits[hidden], rows[hidden], reduction="none")
        return each @ row_weight[hidden] + taken_weight * _unlikelihood(logits[new], old) @ row_weight[new]

    shares = zip(tokens.chunk(parts), masked.chunk(parts), weight.chunk(parts), introduced.chunk(parts), strict=True)
    return [lambda s=s, o=o: loss(*s, o) for s, o in zip(shares, _split(introduced, taken, parts), strict=True)]


def open_up(model, tokens: Tensor, openness: float = 1.0) -> Tensor:
    """Logits of the diffusion model whose row i predicts token i, from a model whose row i predicts token i + 1.

    `openness`: how far what stands right of a position is in sight, see `future_bias`.
    """
    bias = None if openness >= 1 else future_bias(tokens.shape[1], openness).expand(len(tokens), 1, -1, -1)
    return shift_back(model(input_ids=tokens, attention_mask=bias, use_cache=False).logits)


def future_bias(length: int, openness: float) -> Tensor:
    """(length, length) added to the attention scores: 0 to the left, and to the right ln of a weight.

    The weight is 0 at openness 0 (a causal model), then rises from exp(-8) to 1 as openness goes to 1.
    """
    right = -8.0 * (1 - openness) if openness > 0 else torch.finfo(torch.float32).min
    return torch.full((length, length), right).triu(1)


def look_up_weights(tokens: Tensor, visible: Tensor, causal: bool) -> Tensor:
    """(batch, length): LOOK_UP_WEIGHT where the same word is in sight (for a causal model: further left), else 1."""
    same = (tokens[:, :, None] == tokens[:, None, :]) & visible[:, None, :]
    if causal:
        same = same.tril(-1)
    weights = _class_weights()[tokens]
    return torch.where(same.any(-1), weights, 1.0)


def taken_words(tokens: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
    """Where a word is introduced, and which words of its kind are taken by then.

    Args:
        tokens: (batch, length). visible: (batch, length) bool; what is in sight of the model.

    Returns:
        introduced: (batch, length) bool; the first place of a name, colour, thing, place or animal with another of its
            kind in sight further left. Only places out of sight count, unless all is in sight (a causal model).
        taken: (number introduced, vocabulary) bool; those others, in the order of `introduced.nonzero()`.
    """
    kind = _kinds()[tokens]
    same = tokens[:, :, None] == tokens[:, None, :]
    first = ~same.tril(-1).any(-1) & (kind >= 0)
    rivals = ((kind[:, :, None] == kind[:, None, :]) & visible[:, None, :]).tril(-1)
    introduced = first & rivals.any(-1)
    if not visible.all():
        introduced &= ~visible
    row, place = introduced.nonzero(as_tuple=True)
    taken = torch.zeros(len(row), len(_kinds()), dtype=torch.bool)
    which, where = rivals[row, place].nonzero(as_tuple=True)
    taken[which, tokens[row[which], where]] = True
    return introduced, taken


def _unlikelihood(logits: Tensor, taken: Tensor) -> Tensor:
    """(n,) -ln(1 - p(taken)), from logits (n, vocabulary)."""
    rest = logits.masked_fill(taken, float("-inf")).logsumexp(-1)
    return logits.logsumexp(-1) - rest


def _split(introduced: Tensor, taken: Tensor, parts: int) -> tuple[Tensor, ...]:
    """The rows of `taken` that belong to each part of the batch."""
    return taken.split([int(part.sum()) for part in introduced.chunk(parts)])


@lru_cache(maxsize=1)
def _kinds() -> Tensor:
    """(vocabulary,) int64; a number for every class of LOOK_UP_WEIGHT, -1 for all other words."""
    numbers = {name: i for i, name in enumerate(LOOK_UP_WEIGHT)}
    return torch.tensor([numbers.get(WORD_CLASS.get(word), -1) for word in token_ids()])


@lru_cache(maxsize=1)
def _class_weights() -> Tensor:
    """(vocabulary,)"""
    return torch.tensor([LOOK_UP_WEIGHT.get(WORD_CLASS.get(word), 1.0) for word in token_ids()])


def mask_ceiling(progress: float, hold: float = 0.15) -> float:
    """Largest share of a text to mask at this share of the training: half up to `hold`, all from 0.35 later on.

    Where most of a text is masked, little can be learned about looking words up: what kind of word is missing is not
    known, nor is what to look up in sight. With half in sight both are, and it is learned in about half the steps.
    """
    return min(1.0, 0.5 + 0.5 * max(0.0, progress - hold) / 0.35)


def draw_masks(batch: Batch, generator: torch.Generator, ceiling: float = 1.0, favour: float = 1.0) -> Tensor:
    """(batch, length) bool: which tokens the model has to fill in.

    With `favour` above 1, words that can be looked up are masked up to `favour` times as often as others while the
    ceiling is a half, and less so as it rises to 1: one token in six is such a word, and the others are soon known.
    What is in sight of a masked word may be chosen in any way: the right answer, given what is in sight, is the same.
    """
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
    times = 1 + 2 * (favour - 1) * (1 - ceiling)
    score = torch.where(_kinds()[torch.from_numpy(batch.tokens)] >= 0, score / times, score)
    score[torch.arange(length) < start[:, None]] = 2.0
    return score.argsort(1).argsort(1) < k[:, None]
