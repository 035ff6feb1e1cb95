"""Autoregressive sampling: one token per step, from left to right, with a cache of keys and values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from .canvas import Canvas
from .check import Sampling
from .draws import predict
from .end_rules import end_tokens
from .step import Step

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..specs import SamplingOptions


def autoregressive(
    model: LoadedModel, canvas: Canvas, options: SamplingOptions, sampling: Sampling, generator: torch.Generator
) -> Iterator[Step]:
    """Yield the steps that write the columns after the prompts one by one, until all texts have ended.

    There are at most ``steps``. A text that has ended gets its end token again while others continue. Forwards are not
    observed: causal attention rows do not change as the text grows, so one pass over the finished text has them all.
    """
    tokens = canvas.tokens.clone()
    start = canvas.tokens.shape[1] - canvas.fill
    ends = end_tokens(model)
    ended = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    past, seen = None, 0
    columns = torch.arange(tokens.shape[1], device=tokens.device)
    for index in range(sampling.steps):
        column = start + index
        logits, past = model.next_logits(tokens[:, seen:column], canvas.attention_mask[:, :column], past)
        seen = column
        predicted = predict(logits, options.temperature, generator)
        if ends:
            predicted = torch.where(ended, torch.full_like(predicted, ends[0]), predicted)
            ended = ended | torch.isin(predicted, torch.tensor(ends, device=predicted.device))
        confidence = torch.full(tokens.shape, torch.nan, device=tokens.device)
        confidence[:, column] = torch.softmax(logits, -1).gather(-1, predicted[:, None])[:, 0]
        following = tokens.clone()
        following[:, column] = predicted
        masked = (columns >= column).expand(tokens.shape)
        accepted = (columns == column).expand(tokens.shape)
        yield Step(index, sampling.steps, tokens, masked, confidence, accepted, following)
        tokens = following
        if ends and bool(ended.all()):
            return
