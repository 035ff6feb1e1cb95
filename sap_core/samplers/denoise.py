"""The denoising loop that all masked samplers share; a sampler is the rule that chooses what to write at a step.

A canvas is written block by block. In a block, each of its steps runs the model, lets the rule predict and choose, and
writes what was chosen. Guidance: l = l_un + (w + 1)(l - l_un), with l_un from the canvas whose prompt is masked (LLaDA,
arXiv 2502.09992).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..choices.samplers import BEFORE_SHIFT, DREAM, GUMBEL
from ..errors import required
from ..models.block_cache import BlockCache
from .blocks import Blocks
from .canvas import Canvas
from .check import Sampling
from .draws import Rows, exactly, multinomial, predict, probability, restrict
from .end_rules import EndRule
from .step import SamplerState, Step

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..specs import SamplingOptions


@dataclass(frozen=True)
class StepContext:
    """The input of a rule at one step.

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

    logits: Float[Tensor, "n vocabulary"]
    rows: Rows
    masked: Bool[Tensor, "batch sequence"]
    allowed: Bool[Tensor, "batch sequence"]
    start: Int[Tensor, " batch"]
    step: int
    steps: int
    mask_id: int
    sampling: Sampling
    generator: torch.Generator
    ends: tuple[int, ...] = ()

    def over_canvas(self, values: Float[Tensor, " n"], fill: float) -> Float[Tensor, "batch sequence"]:
        """Return (n,) values at their masked positions of a (batch, sequence) canvas, ``fill`` elsewhere."""
        canvas = torch.full(self.masked.shape, fill, dtype=values.dtype, device=values.device)
        return canvas.masked_scatter(self.masked, values)

    def draw(self) -> tuple[Int[Tensor, " n"], Float[Tensor, "n vocabulary"]]:
        """Return the predicted tokens (n,) and the probabilities (n, vocabulary) that their confidence is read from.

        - gumbel (LLaDA, A2D): argmax(exp(l) / (-ln u)^T); probabilities softmax(l), whatever the temperature.
        - categorical (SDAR, LLaDA2, Fast-dLLM v2, RND1): drawn from softmax(restrict(l / T)).
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
        """Return the same step restricted to some of its rows, (n,) bool."""
        return dataclasses.replace(self, logits=self.logits[rows], rows=exactly(int(rows.sum())))

    def _without_ends(self, logits: Tensor) -> Tensor:
        return logits.index_fill(-1, torch.tensor(self.ends, device=logits.device), -torch.inf) if self.ends else logits


# StepContext -> predicted token (n,), confidence (n,), what is written (batch, sequence) bool
Rule = Callable[[StepContext], tuple[Tensor, Tensor, Tensor]]
Sampler = Callable[..., Iterator[Step]]


def sampler_of(rule: Rule) -> Sampler:
    """Return the sampler that writes what ``rule`` chooses."""

    def run(
        model: LoadedModel,
        canvas: Canvas,
        options: SamplingOptions,
        sampling: Sampling,
        generator: torch.Generator,
        state: SamplerState | None = None,
    ) -> Iterator[Step]:
        return denoise(model, canvas, options, sampling, generator, rule, state)

    return run


def denoise(
    model: LoadedModel,
    canvas: Canvas,
    options: SamplingOptions,
    sampling: Sampling,
    generator: torch.Generator,
    rule: Rule,
    state: SamplerState | None = None,
) -> Iterator[Step]:
    """Yield the steps of one generation, or from ``state`` on those that are left.

    A rule may finish a block, and so the canvas, in fewer steps than planned.

    Of a block-causal model whose rows predict the next token (Fast-dLLM v2), a block's first token is given by the last
    row of the block before it; it is written in a step of its own, as the published code writes it before all others.
    """
    mask_id = model.check_masked()
    tokens = canvas.tokens.clone() if state is None else state.tokens
    ends = EndRule(model, canvas, sampling)
    plan = Blocks(model, canvas, sampling)
    forward = Forward(model, canvas, options.guidance)
    cache = None if sampling.cache == "none" else CachedForward(model, plan, sampling.cache)
    total, index = plan.total, 0 if state is None else state.index
    for block, steps in plan.shares.items():
        inside = plan.numbers == block
        if state is not None and block <= state.memory["block"]:  # finished, or to be gone on with
            first, begin = None, state.memory["step"] + 1
            start = torch.tensor(state.memory["start"], device=tokens.device)
            if block < state.memory["block"]:
                continue
            if not ((tokens == mask_id) & inside).any():
                begin = steps
        else:
            first = plan.first_token(tokens, block)
            begin = -1 if first is not None else 0
        for step in range(begin, steps):
            if step <= 0:
                start = ((tokens == mask_id) & inside).sum(1)
            masked = tokens == mask_id
            alone = cache is not None and model.info.shift_logits and step == 0 and steps > 1
            span = plan.window(block) if cache is None else cache.span(block, step)
            seen = masked & span if span is not None else masked
            logits = forward(tokens, span) if cache is None else cache(tokens, block, step)
            narrow = seen if span is None else seen[:, span]
            context = StepContext(
                logits=ends.forbid(forbid(model, logits[narrow])),
                rows=Rows(narrow.flatten().nonzero()[:, 0], narrow.numel()),
                masked=seen,
                allowed=_allowed(plan, seen, block, step, first, alone),
                start=start,
                step=max(step, 0),
                steps=1 if step < 0 else steps,
                mask_id=mask_id,
                sampling=sampling,
                generator=generator,
                ends=ends.last,
            )
            predicted, score, accepted = take_all(context) if step < 0 or alone else rule(context)
            if cache is not None and step == steps - 1:
                accepted = context.allowed
            following = torch.where(accepted, tokens.masked_scatter(seen, predicted), tokens)
            confidence = context.over_canvas(score.float(), torch.nan)
            memory = {"block": block, "step": step, "start": start.tolist()}
            yield Step(index, total, tokens, masked, confidence, accepted, following, memory)
            tokens = following
            index += 1
            if not ((tokens == mask_id) & inside).any():
                break
        if ends.reached(tokens, plan.numbers <= block):
            return


def _allowed(plan: Blocks, seen: Tensor, block: int, step: int, first: Tensor | None, alone: bool) -> Tensor:
    """Return which of the masked positions this step may write; ``alone``: the block's first column only."""
    if step < 0:
        return required(first, "the first token")
    if not alone:
        return seen & (plan.numbers <= block)
    columns = torch.arange(seen.shape[1], device=seen.device)
    return seen & (columns == plan.columns(block)[0])


def take_all(context: StepContext) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"], Bool[Tensor, "batch sequence"]]:
    """Return the most probable token of every position that may be written; drawn by the settings with a cache."""
    if context.sampling.cache != "none":
        predicted, shares = context.draw()
        return predicted, shares.gather(-1, predicted[:, None])[:, 0], context.allowed
    predicted = context.logits.argmax(-1)
    return predicted, probability(context.logits, predicted), context.allowed


class CachedForward:
    """Logits of a canvas from an approximate cache; see `sap_core.models.block_cache`."""

    def __init__(self, model: LoadedModel, plan: Blocks, kind: str) -> None:
        self._plan, self._dual, self._cache = plan, kind == "dual", BlockCache(model, kind)

    def __call__(self, tokens: Tensor, block: int, step: int) -> Tensor:
        """(batch, columns of `span`, vocabulary)."""
        return self._cache.part(tokens, *self._plan.columns(block)) if step else self._cache.whole(tokens)

    def span(self, block: int, step: int) -> Tensor | None:
        """Return the columns that are computed, (sequence,) bool; None for all."""
        if not step:
            return None
        start, stop = self._plan.columns(block)
        columns = torch.arange(self._plan.numbers.shape[1], device=self._plan.numbers.device)
        return (columns >= start) & (columns < stop) if self._dual else columns >= start


class Forward:
    """Computes the logits of a canvas, with guidance if asked for; caches what finished blocks have computed."""

    def __init__(self, model: LoadedModel, canvas: Canvas, guidance: float) -> None:
        self._model = model
        self._guidance = guidance
        self._prompt = prompt_positions(canvas)
        self._starts = torch.tensor(canvas.prompt_lengths)
        self._memories: tuple[dict, dict] = {}, {}

    def __call__(self, tokens: Tensor, span: Tensor | None) -> Tensor:
        """Return logits (batch, columns of ``span``, vocabulary).

        ``span``: (sequence,) mask of columns, None for all.
        """
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


def prompt_positions(canvas: Canvas) -> Bool[Tensor, "batch sequence"]:
    """Return (batch, sequence) bool: the positions of each prompt."""
    columns = torch.arange(canvas.tokens.shape[1], device=canvas.tokens.device)
    return columns < torch.tensor(canvas.prompt_lengths, device=columns.device)[:, None]


def forbid(model: LoadedModel, logits: Float[Tensor, "*rows vocabulary"]) -> Float[Tensor, "*rows vocabulary"]:
    """Return logits in which the mask token can't be predicted, for models that need that."""
    if not model.info.row.forbid_mask_prediction:
        return logits
    return logits.index_fill(-1, torch.tensor([model.info.mask_token_id], device=logits.device), -torch.inf)
