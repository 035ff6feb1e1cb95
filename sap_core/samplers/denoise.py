"""The denoising loop every masked sampler shares; a sampler is the rule that decides what to write at a step.

A canvas is written block by block. In a block, each of its steps runs the model, lets the rule predict and choose, and
writes what was chosen. Guidance: l = l_un + (w + 1)(l - l_un), with l_un from the canvas whose prompt is masked
(LLaDA, arXiv 2502.09992).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..choices.samplers import BEFORE_SHIFT, DREAM, GUMBEL
from ..errors import required
from .canvas import Canvas
from .check import Sampling, share_steps
from .draws import Rows, exactly, multinomial, predict, probability, restrict
from .end_rules import EndRule
from .step import Step

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..specs import SamplingOptions


@dataclass(frozen=True)
class StepContext:
    """What a rule sees at one step.

    Attributes:
        logits: (n, vocabulary) of the ``n`` masked positions, row by row; forbidden tokens at -inf.
        rows: Which rows of the canvas, or of the block that a block-causal model computes, these are.
        masked: (batch, sequence) bool, n of them true.
        allowed: (batch, sequence) bool: those of the masked that may be written now.
        start: (batch,) masked tokens of the block when it began.
        step, steps: Number of this step in its block, from 0, and steps of the block.
        mask_id: The mask token.
        sampling: The settings.
        generator: Source of random numbers, on the CPU.
        ends: Tokens whose confidence counts as nothing (``confidence_eos_eot_inf``); none for other end rules.
    """

    logits: Tensor
    rows: Rows
    masked: Tensor
    allowed: Tensor
    start: Tensor
    step: int
    steps: int
    mask_id: int
    sampling: Sampling
    generator: torch.Generator
    ends: tuple[int, ...] = ()

    def over_canvas(self, values: Tensor, fill: float) -> Tensor:
        """(n,) values at their masked positions of a (batch, sequence) canvas, ``fill`` elsewhere."""
        canvas = torch.full(self.masked.shape, fill, dtype=values.dtype, device=values.device)
        return canvas.masked_scatter(self.masked, values)

    def draw(self) -> tuple[Tensor, Tensor]:
        """Return the predicted tokens (n,) and the shares (n, vocabulary) that their confidence is read from.

        - gumbel (LLaDA, A2D): argmax(exp(l) / (-ln u)^T); shares softmax(l), whatever the temperature.
        - categorical (SDAR, LLaDA2, Fast-dLLM v2, RND1): drawn from shares = softmax(restrict(l / T)).
        - before_shift (RND1): the same, drawn for row i - 1, which predicts token i.
        - dream: the same for the masked rows alone, the nucleus cut before the top k, at T = 0 as well.
        """
        options = self.sampling
        logits = self.logits / options.temperature if options.temperature else self.logits
        kept = restrict(logits, options.top_k, options.top_p, nucleus_first=options.draws == DREAM)
        if options.draws == GUMBEL:
            cut = self.logits.masked_fill(kept.isneginf(), -torch.inf)
            predicted = predict(cut, options.temperature, self.generator, self.rows)
            return predicted, torch.softmax(self._without_ends(self.logits), -1)
        shares = torch.softmax(kept, -1)
        if not options.temperature:
            predicted = shares.argmax(-1)
        else:
            rows = self.rows
            if options.draws == DREAM:
                rows = exactly(len(shares))
            if options.draws == BEFORE_SHIFT and rows.number is not None:
                rows = Rows((rows.number - 1).clamp(min=0), rows.total)
            predicted = multinomial(shares, self.generator, rows)
        return predicted, torch.softmax(self._without_ends(kept), -1) if self.ends else shares

    def of(self, rows: Tensor) -> StepContext:
        """Return the same step seen by some of its rows, (n,) bool."""
        return dataclasses.replace(self, logits=self.logits[rows], rows=exactly(int(rows.sum())))

    def _without_ends(self, logits: Tensor) -> Tensor:
        return logits.index_fill(-1, torch.tensor(self.ends, device=logits.device), -torch.inf) if self.ends else logits


# StepContext -> predicted token (n,), confidence (n,), what is written (batch, sequence) bool
Rule = Callable[[StepContext], tuple[Tensor, Tensor, Tensor]]
Sampler = Callable[..., Iterator[Step]]


def sampler_of(rule: Rule) -> Sampler:
    """Return the sampler that writes what ``rule`` chooses."""

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
    """Yield the steps of one generation. A rule may finish a block, and so the canvas, in fewer steps than planned.

    Of a block-causal model whose rows predict the next token (Fast-dLLM v2), a block's first token is given by the last
    row of the block before it; it is written in a step of its own, as the published code writes it before all others.
    """
    mask_id = model.check_masked()
    tokens = canvas.tokens.clone()
    ends = EndRule(model, canvas, sampling)
    plan = Blocks(model, canvas, sampling)
    forward = Forward(model, canvas, options.guidance)
    total, index = plan.total, 0
    for block, steps in plan.shares.items():
        inside = plan.numbers == block
        first = plan.first_token(tokens, block)
        for step in range(-1 if first is not None else 0, steps):
            if step <= 0:
                start = ((tokens == mask_id) & inside).sum(1)
            masked = tokens == mask_id
            span = plan.window(block)
            seen = masked & span if span is not None else masked
            logits = forward(tokens, span)
            narrow = seen if span is None else seen[:, span]
            context = StepContext(
                logits=ends.forbid(forbid(model, logits[narrow])),
                rows=Rows(narrow.flatten().nonzero()[:, 0], narrow.numel()),
                masked=seen,
                allowed=required(first, "the first token") if step < 0 else seen & (plan.numbers <= block),
                start=start,
                step=max(step, 0),
                steps=1 if step < 0 else steps,
                mask_id=mask_id,
                sampling=sampling,
                generator=generator,
                ends=ends.last,
            )
            predicted, score, accepted = take_all(context) if step < 0 else rule(context)
            following = torch.where(accepted, tokens.masked_scatter(seen, predicted), tokens)
            confidence = context.over_canvas(score.float(), torch.nan)
            yield Step(index, total, tokens, masked, confidence, accepted, following)
            tokens = following
            index += 1
            if not ((tokens == mask_id) & inside).any():
                break
        if ends.reached(tokens, plan.numbers <= block):
            return


def take_all(context: StepContext) -> tuple[Tensor, Tensor, Tensor]:
    """Return the likeliest token of every position that may be written."""
    predicted = context.logits.argmax(-1)
    return predicted, probability(context.logits, predicted), context.allowed


class Blocks:
    """Which positions are written in which block, and in how many steps.

    Attributes:
        numbers: (batch, sequence), the block in which a position is written.
        shares: Number of every block that has masks -> its steps.
        total: Steps planned.
    """

    def __init__(self, model: LoadedModel, canvas: Canvas, sampling: Sampling) -> None:
        info = model.info
        self._own = info.block_size
        self._mask = model.check_masked()
        self._shifted = info.shift_logits
        from_first = self._own is not None and not info.row.answer_starts_block
        self.numbers = block_numbers(canvas, sampling.block_length, aligned=from_first)
        self._columns = torch.arange(canvas.tokens.shape[1], device=canvas.tokens.device)
        self._alike = from_first or len(set(canvas.prompt_lengths)) == 1
        self._start = 0 if from_first else canvas.prompt_lengths[0]
        sizes = block_sizes(self.numbers, canvas.tokens == self._mask)
        self.shares = dict(zip(sizes, share_steps(list(sizes.values()), sampling.steps), strict=True))
        self._ratio = 1 if self._own is None else self._own // sampling.block_length
        extra = 0 if self._own is None else sum(self.first_token(canvas.tokens, block) is not None for block in sizes)
        self.total = sum(self.shares.values()) + extra

    def window(self, block: int) -> Tensor | None:
        """Return the columns of the model's own block that ``block`` lies in; None where the whole canvas is
        computed."""
        if self._own is None or not self._alike:
            return None
        own = (self._columns - self._start).div(self._own, rounding_mode="floor")
        return own == block // self._ratio

    def first_token(self, tokens: Tensor, block: int) -> Tensor | None:
        """(batch, sequence) bool: the masked first tokens of the model's own block that begins with ``block``.

        None where they need no step of their own: rows predict their own token, or the block begins the text.
        """
        if self._own is None or not self._shifted or block % self._ratio or block == 0:
            return None
        first = (self.numbers == block) & (self.numbers.roll(1, 1) != block) & (tokens == self._mask)
        return first if first.any() else None


class Forward:
    """Logits of a canvas, guided if asked; remembers what finished blocks have computed."""

    def __init__(self, model: LoadedModel, canvas: Canvas, guidance: float) -> None:
        self._model = model
        self._guidance = guidance
        self._prompt = prompt_positions(canvas)
        self._starts = torch.tensor(canvas.prompt_lengths)
        self._memories: tuple[dict, dict] = {}, {}

    def __call__(self, tokens: Tensor, span: Tensor | None) -> Tensor:
        """(batch, columns of ``span``, vocabulary); ``span`` is a (sequence,) mask of columns, None for all."""
        self._model.answers_at = self._starts
        try:
            return self._guided(tokens, span)
        finally:
            self._model.answers_at = None

    def _guided(self, tokens: Tensor, span: Tensor | None) -> Tensor:
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


def forbid(model: LoadedModel, logits: Tensor) -> Tensor:
    """Logits in which the mask token can't be predicted, for models that need that."""
    if not model.info.row.forbid_mask_prediction:
        return logits
    return logits.index_fill(-1, torch.tensor([model.info.mask_token_id], device=logits.device), -torch.inf)


def share(context: StepContext) -> Tensor:
    """Return how many tokens of its block this step writes in each text; (batch,)."""
    if context.sampling.rounded_shares:
        counts = [rounded_shares(count, context.steps) for count in context.start.tolist()]
        return torch.tensor([row[context.step] if context.step < len(row) else 0 for row in counts])
    return even_share(context.start, context.step, context.steps)


def even_share(masked: Tensor, step: int, steps: int) -> Tensor:
    """Return how many of ``masked`` (batch,) tokens step number ``step`` writes: an even share, one more in the
    first ones.

    floor(M / steps), plus one in the first M mod steps (LLaDA's get_num_transfer_tokens).
    """
    return masked // steps + (step < masked % steps).long()


def rounded_shares(masked: int, steps: int) -> list[int]:
    """Return how many of ``masked`` tokens each step writes in dLLM's samplers (A2D): of what is left, its part,
    rounded.

    At step j of K, with M tokens left: round(M (1 - s / t)), t = (K - j) / K, s = (K - j - 1) / K, ties to even; steps
    that would write nothing are left out. In float32 as there: the last bit can decide a tie.
    """
    found = []
    for j in range(steps):
        t, s = (torch.tensor((steps - j - k) / steps, dtype=torch.float32) for k in (0, 1))
        opens = 1 - ((1 - (1 - s)) / (1 - (1 - t))).item()
        count = min(int(torch.round(torch.tensor(masked * opens, dtype=torch.float64))), masked)
        masked -= count
        found += [count] if count else []
    return found


def top_positions(confidence: Tensor, allowed: Tensor, counts: Tensor) -> Tensor:
    """(batch, sequence) bool: in each row the ``counts`` allowed positions of highest confidence."""
    chosen = torch.zeros_like(allowed)
    ranked = confidence.masked_fill(~allowed, -torch.inf)
    for row, count in enumerate(counts.tolist()):
        count = min(count, int(allowed[row].sum()))
        chosen[row, ranked[row].topk(count).indices] = True
    return chosen
