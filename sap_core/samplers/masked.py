"""LLaDA's denoising loop (arXiv 2502.09992, generate.py), with low-confidence or random remasking.

Per block, M masked tokens are shared among the block's steps: floor(M / steps) each, one more in the first M mod steps.
A step predicts x0 = argmax(exp(l) / (-ln u)^T) in float64 (u uniform; T = 0 is the plain argmax), takes
softmax(l)[x0] or a random number as confidence, and keeps the most confident of the positions it may write.
Guidance: l = l_un + (w + 1)(l - l_un), with l_un from the canvas whose prompt is masked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .canvas import Canvas
from .check import Sampling, steps_of_blocks
from .step import Step

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..specs import CaptureSpec

# (logits (n, V), predicted (n,), generator) -> confidence (n,)
Confidence = Callable[[Tensor, Tensor, torch.Generator], Tensor]


def low_confidence(
    model: LoadedModel, canvas: Canvas, spec: CaptureSpec, sampling: Sampling, generator: torch.Generator
) -> Iterator[Step]:
    """Keeps the predictions with the highest probability."""
    return _denoise(model, canvas, spec, sampling, generator, probability)


def random(
    model: LoadedModel, canvas: Canvas, spec: CaptureSpec, sampling: Sampling, generator: torch.Generator
) -> Iterator[Step]:
    """Keeps predictions at random."""
    return _denoise(model, canvas, spec, sampling, generator, _uniform)


def _denoise(
    model: LoadedModel,
    canvas: Canvas,
    spec: CaptureSpec,
    sampling: Sampling,
    generator: torch.Generator,
    confidence_of: Confidence,
) -> Iterator[Step]:
    mask_id = model.check_masked()
    tokens = canvas.tokens.clone()
    prompt = prompt_positions(canvas)
    blocks = block_numbers(canvas, tokens == mask_id, sampling.block_length)
    index = 0
    for block, steps in enumerate(steps_of_blocks(canvas.fill, sampling.block_length, sampling.steps)):
        quota = transfer_counts(((tokens == mask_id) & (blocks == block)).sum(1), steps)
        for step in range(steps):
            masked = tokens == mask_id
            logits = guided_logits(model, tokens, prompt, spec.guidance)[masked]
            predicted = predict(logits, spec.temperature, generator, banned_token(model))
            x0 = tokens.masked_scatter(masked, predicted)
            score = confidence_of(logits, predicted, generator)
            confidence = torch.full(tokens.shape, torch.nan, dtype=score.dtype, device=tokens.device)
            confidence = confidence.masked_scatter(masked, score)
            accepted = top_positions(confidence, masked & (blocks <= block), quota[:, step])
            following = torch.where(accepted, x0, tokens)
            yield Step(index, sampling.steps, tokens, masked, confidence.float(), accepted, following)
            tokens = following
            index += 1


def prompt_positions(canvas: Canvas) -> Tensor:
    """(batch, sequence) bool: the positions of each prompt."""
    columns = torch.arange(canvas.tokens.shape[1], device=canvas.tokens.device)
    return columns < torch.tensor(canvas.prompt_lengths, device=columns.device)[:, None]


def block_numbers(canvas: Canvas, masked: Tensor, block_length: int) -> Tensor:
    """(batch, sequence): the block in which a position is written, counted from the end of its prompt.

    Masks inside a prompt are of block 0.
    """
    columns = torch.arange(masked.shape[1], device=masked.device)
    lengths = torch.tensor(canvas.prompt_lengths, device=masked.device)[:, None]
    blocks = (columns - lengths).clamp(min=0) // block_length
    # Masks inside prompts lengthen the count of tokens to fill, not the room after the prompt.
    return blocks.clamp(max=-(-canvas.fill // block_length) - 1)


def transfer_counts(masked: Tensor, steps: int) -> Tensor:
    """(batch, steps): how many of ``masked`` (batch,) tokens each step writes; LLaDA's get_num_transfer_tokens."""
    base, rest = masked // steps, masked % steps
    return base[:, None] + (torch.arange(steps, device=masked.device) < rest[:, None]).long()


def guided_logits(model: LoadedModel, tokens: Tensor, prompt: Tensor, guidance: float) -> Tensor:
    """Logits with classifier-free guidance; the unconditional pass is not observed. (batch, sequence, vocabulary)."""
    logits = model.logits(tokens)
    if not guidance:
        return logits
    blank = tokens.masked_fill(prompt, model.check_masked())
    unconditional = model.logits(blank, observed=False)
    return unconditional + (guidance + 1) * (logits - unconditional)


def banned_token(model: LoadedModel) -> int | None:
    """The mask token where it must not be predicted."""
    return model.info.mask_token_id if model.info.row.bans_mask else None


def predict(logits: Tensor, temperature: float, generator: torch.Generator, banned: int | None = None) -> Tensor:
    """One token per row of ``logits`` (n, V), by the Gumbel form LLaDA uses; (n,)."""
    if banned is not None:
        logits = logits.index_fill(-1, torch.tensor([banned], device=logits.device), -torch.inf)
    if not temperature:
        return logits.argmax(-1)
    # Apple GPUs have no float64; the noise is drawn on the CPU in any case.
    exact = logits.double() if logits.device.type != "mps" else logits.cpu().double()
    noise = torch.rand(exact.shape, dtype=torch.float64, generator=generator).to(exact.device)
    # argmax(exp(l) / (-ln u)^T) in logarithms, which does not overflow.
    return (exact - temperature * torch.log(-torch.log(noise))).argmax(-1).to(logits.device)


def probability(logits: Tensor, predicted: Tensor, _: torch.Generator) -> Tensor:
    """softmax(l)[x0]."""
    return torch.softmax(logits, -1).gather(-1, predicted[:, None])[:, 0]


def _uniform(logits: Tensor, predicted: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(predicted.shape, generator=generator).to(logits.device)


def top_positions(confidence: Tensor, allowed: Tensor, counts: Tensor) -> Tensor:
    """(batch, sequence) bool: in each row the ``counts`` allowed positions of highest confidence."""
    chosen = torch.zeros_like(allowed)
    ranked = confidence.masked_fill(~allowed, -torch.inf)
    for row, count in enumerate(counts.tolist()):
        count = min(count, int(allowed[row].sum()))
        chosen[row, ranked[row].topk(count).indices] = True
    return chosen
