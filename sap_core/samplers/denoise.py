"""The denoising loop every masked sampler shares; a sampler is the rule that decides what to write at a step.

A canvas is written block by block. In a block, each of its steps runs the model, lets the rule predict and choose, and
writes what was chosen. Guidance: l = l_un + (w + 1)(l - l_un), with l_un from the canvas whose prompt is masked
(LLaDA, arXiv 2502.09992).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .canvas import Canvas
from .check import Sampling, share_steps
from .step import Step

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..specs import SamplingOptions


@dataclass(frozen=True)
class Moment:
    """What a rule sees at one step.

    Attributes:
        logits: (n, vocabulary) of the ``n`` masked positions, row by row; forbidden tokens at -inf.
        masked: (batch, sequence) bool, n of them true.
        allowed: (batch, sequence) bool: those of the masked that may be written now.
        start: (batch,) masked tokens of the block when it began.
        step, steps: Number of this step in its block, from 0, and steps of the block.
        temperature, threshold: Settings; the threshold is None for rules without one.
        mask_id: The mask token.
        generator: Source of random numbers, on the CPU.
    """

    logits: Tensor
    masked: Tensor
    allowed: Tensor
    start: Tensor
    step: int
    steps: int
    temperature: float
    threshold: float | None
    mask_id: int
    generator: torch.Generator

    def over_canvas(self, values: Tensor, fill: float) -> Tensor:
        """(n,) values at their masked positions of a (batch, sequence) canvas, ``fill`` elsewhere."""
        canvas = torch.full(self.masked.shape, fill, dtype=values.dtype, device=values.device)
        return canvas.masked_scatter(self.masked, values)


# Moment -> predicted token (n,), confidence (n,), what is written (batch, sequence) bool
Rule = Callable[[Moment], tuple[Tensor, Tensor, Tensor]]
Sampler = Callable[..., Iterator[Step]]


def sampler_of(rule: Rule) -> Sampler:
    """The sampler that writes what ``rule`` chooses."""

    def run(
        model: LoadedModel, canvas: Canvas, options: SamplingOptions, sampling: Sampling, generator: torch.Generator
    ) -> Iterator[Step]:
        return denoise(model, canvas, options, sampling, generator, rule)

    return run


def denoise(
    model: LoadedModel,
    canvas: Canvas,
    options: SamplingOptions,
    sampling: Sampling,
    generator: torch.Generator,
    rule: Rule,
) -> Iterator[Step]:
    """Yields the steps of one generation. A rule may finish a block, and so the canvas, in fewer steps than planned."""
    mask_id = model.check_masked()
    tokens = canvas.tokens.clone()
    blocks = block_numbers(canvas, sampling.block_length, aligned=model.info.block_size is not None)
    forward = Forward(model, canvas, options.guidance)
    sizes = block_sizes(blocks, tokens == mask_id)
    shares = share_steps(list(sizes.values()), sampling.steps)
    total, index = sum(shares), 0
    for block, steps in zip(sizes, shares, strict=True):
        start = ((tokens == mask_id) & (blocks == block)).sum(1)
        for step in range(steps):
            masked = tokens == mask_id
            span = window(model, blocks, block)
            seen = masked & span if span is not None else masked
            moment = Moment(
                logits=forbid(model, forward(tokens, span)[seen if span is None else seen[:, span]]),
                masked=seen,
                allowed=seen & (blocks <= block),
                start=start,
                step=step,
                steps=steps,
                temperature=options.temperature,
                threshold=sampling.threshold,
                mask_id=mask_id,
                generator=generator,
            )
            predicted, score, accepted = rule(moment)
            following = torch.where(accepted, tokens.masked_scatter(seen, predicted), tokens)
            confidence = moment.over_canvas(score.float(), torch.nan)
            yield Step(index, total, tokens, masked, confidence, accepted, following)
            tokens = following
            index += 1
            if not ((tokens == mask_id) & (blocks == block)).any():
                break


class Forward:
    """Logits of a canvas, guided if asked; remembers what finished blocks have computed."""

    def __init__(self, model: LoadedModel, canvas: Canvas, guidance: float) -> None:
        self._model = model
        self._guidance = guidance
        self._prompt = prompt_positions(canvas)
        self._memories: tuple[dict, dict] = {}, {}

    def __call__(self, tokens: Tensor, span: Tensor | None) -> Tensor:
        """(batch, columns of ``span``, vocabulary); ``span`` is a (sequence,) mask of columns, None for all."""
        logits = self._model.span_logits(tokens, span, self._memories[0])
        if not self._guidance:
            return logits
        blank = tokens.masked_fill(self._prompt, self._model.check_masked())
        unconditional = self._model.span_logits(blank, span, self._memories[1], observed=False)
        return unconditional + (self._guidance + 1) * (logits - unconditional)


def prompt_positions(canvas: Canvas) -> Tensor:
    """(batch, sequence) bool: the positions of each prompt."""
    columns = torch.arange(canvas.tokens.shape[1], device=canvas.tokens.device)
    return columns < torch.tensor(canvas.prompt_lengths, device=columns.device)[:, None]


def block_numbers(canvas: Canvas, block_length: int, *, aligned: bool) -> Tensor:
    """(batch, sequence): the block in which a position is written.

    Counted from the end of each prompt, masks inside a prompt being of block 0; ``aligned``: from the first column, as
    block-causal models see them.
    """
    columns = torch.arange(canvas.tokens.shape[1], device=canvas.tokens.device)
    if aligned:
        return (columns // block_length).expand(canvas.tokens.shape)
    lengths = torch.tensor(canvas.prompt_lengths, device=columns.device)[:, None]
    return (columns - lengths).clamp(min=0) // block_length


def block_sizes(blocks: Tensor, masked: Tensor) -> dict[int, int]:
    """Tokens to write in each block that has any, of the canvas that has most, in order."""
    numbers = blocks[masked].unique().tolist()
    return {number: int((masked & (blocks == number)).sum(1).max()) for number in numbers}


def window(model: LoadedModel, blocks: Tensor, block: int) -> Tensor | None:
    """The columns of the block a block-causal model works on; None for a model that sees the whole canvas."""
    return None if model.info.block_size is None else blocks[0] == block


def forbid(model: LoadedModel, logits: Tensor) -> Tensor:
    """Logits in which the mask token can't be predicted, for models that need that."""
    if not model.info.row.bans_mask:
        return logits
    return logits.index_fill(-1, torch.tensor([model.info.mask_token_id], device=logits.device), -torch.inf)


def predict(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """One token per row of ``logits`` (n, V): argmax(exp(l) / (-ln u)^T) in float64, u uniform; (n,).

    That is a draw from softmax(l / T), in the form in which LLaDA does it. T = 0 is the plain argmax.
    """
    if not temperature:
        return logits.argmax(-1)
    # Apple GPUs have no float64; the noise is drawn on the CPU in any case.
    exact = logits.double() if logits.device.type != "mps" else logits.cpu().double()
    noise = torch.rand(exact.shape, dtype=torch.float64, generator=generator).to(exact.device)
    # In logarithms, which do not overflow.
    return (exact - temperature * torch.log(-torch.log(noise))).argmax(-1).to(logits.device)


def probability(logits: Tensor, predicted: Tensor) -> Tensor:
    """softmax(l)[x0]; (n,)."""
    return torch.softmax(logits, -1).gather(-1, predicted[:, None])[:, 0]


def even_share(masked: Tensor, step: int, steps: int) -> Tensor:
    """How many of ``masked`` (batch,) tokens step number ``step`` writes: an even share, one more in the first ones.

    floor(M / steps), plus one in the first M mod steps (LLaDA's get_num_transfer_tokens).
    """
    return masked // steps + (step < masked % steps).long()


def top_positions(confidence: Tensor, allowed: Tensor, counts: Tensor) -> Tensor:
    """(batch, sequence) bool: in each row the ``counts`` allowed positions of highest confidence."""
    chosen = torch.zeros_like(allowed)
    ranked = confidence.masked_fill(~allowed, -torch.inf)
    for row, count in enumerate(counts.tolist()):
        count = min(count, int(allowed[row].sum()))
        chosen[row, ranked[row].topk(count).indices] = True
    return chosen
