"""Whether a capture's sampling settings fit its model, before any work. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from ..choices.samplers import SAMPLERS, SamplerRule
from ..errors import InvalidInput, UnknownOption
from ..models.family import AUTOREGRESSIVE, MASKED_DIFFUSION

if TYPE_CHECKING:
    from ..models.info import ModelInfo
    from ..specs import SamplingOptions


@dataclass(frozen=True)
class Sampling:
    """The settings with every default filled in."""

    sampler: str
    steps: int
    block_length: int
    threshold: float | None = None


def check_sampling(info: ModelInfo, options: SamplingOptions, fill: int) -> Sampling:
    """Fill in the defaults of ``options`` for this model.

    Args:
        fill: Tokens to fill: of the longest canvas if there are several.

    Raises:
        ModelProblem: a model that denoises a mask token and does not declare one.
        UnknownOption: a sampler this model can't use.
        InvalidInput: a length beyond the model's positions, nothing to fill, more steps than tokens, fewer steps than
            blocks, blocks other than the model's own, guidance or blocks for an autoregressive model, a threshold for a
            rule that has none.
    """
    rule = check_sampler(info, options)
    if fill < 1:
        raise InvalidInput(f"The prompt fills all {options.length} tokens; give a greater length or a shorter prompt.")
    steps = options.steps if options.steps is not None else min(rule.default_steps or fill, fill)
    if not 1 <= steps <= fill:
        raise InvalidInput(f"steps is {steps}; there are {fill} tokens to fill, so expected 1 to {fill}.")
    if info.objective == AUTOREGRESSIVE:
        if options.block_length is not None and options.block_length < fill:
            raise InvalidInput(f"block_length belongs to diffusion models; {info.ref} is autoregressive, leave it out.")
        return Sampling(rule.name, steps, fill)
    threshold = options.threshold if options.threshold is not None else rule.threshold
    return Sampling(rule.name, steps, _block_length(info, options, steps, fill), threshold)


def check_sampler(info: ModelInfo, options: SamplingOptions) -> SamplerRule:
    """Return the sampler's row, after checking all that does not depend on how many tokens there are to fill.

    Raises:
        ModelProblem, UnknownOption, InvalidInput: as `check_sampling`.
    """
    if info.max_length is not None and options.length > info.max_length:
        raise InvalidInput(f"length is {options.length}; {info.ref} takes at most {info.max_length} tokens.")
    rule = _rule(info, options)
    if info.objective == MASKED_DIFFUSION and info.row.has_mask:
        info.check_masked()
    if options.threshold is not None and rule.threshold is None:
        raise InvalidInput(f"threshold is {options.threshold:g}, but sampler '{rule.name}' has none; leave it out.")
    if options.guidance and info.objective == AUTOREGRESSIVE:
        raise InvalidInput(f"guidance is {options.guidance:g}, but {info.ref} is autoregressive; leave it at 0.")
    if options.guidance and not rule.guidance:
        raise InvalidInput(f"guidance is {options.guidance:g}, but sampler '{rule.name}' has none; leave it at 0.")
    return rule


def share_steps(sizes: list[int], steps: int) -> list[int]:
    """How ``steps`` are shared among blocks of ``sizes`` tokens, in proportion to them.

    Equal to LLaDA's steps // blocks wherever that is defined (equal blocks that divide the steps). A block never gets
    more steps than it has tokens, as long as steps <= sum(sizes), nor less than one: fewer steps than blocks become
    one each.
    """
    spare, room = max(steps - len(sizes), 0), sum(sizes) - len(sizes)
    edges = [0, *accumulate(size - 1 for size in sizes)]
    return [1 + (spare * after // room - spare * before // room if room else 0) for before, after in pairwise(edges)]


def _rule(info: ModelInfo, options: SamplingOptions) -> SamplerRule:
    name = info.samplers[0] if options.sampler == "auto" else options.sampler
    if name in info.samplers:
        return SAMPLERS[name]
    kind = f"{info.ref} is {info.objective.replace('_', ' ')}."
    if name in SAMPLERS:
        raise InvalidInput(f"Sampler '{name}' does not fit: {kind} Use one of: {', '.join(info.samplers)}.")
    raise UnknownOption("sampler", name, info.samplers, hint=kind)


def _block_length(info: ModelInfo, options: SamplingOptions, steps: int, fill: int) -> int:
    own = info.block_size
    if own is not None:
        if options.block_length not in (None, own):
            raise InvalidInput(f"block_length is {options.block_length}; {info.ref} has blocks of {own}, leave it out.")
        least = min(math.ceil(fill / own) + 1, fill)  # its blocks do not begin where the prompt ends
        if steps < least:
            raise InvalidInput(f"steps is {steps}; blocks of {own} need at least {least} for {fill} tokens.")
        return own
    block = min(options.block_length or fill, fill)
    blocks = math.ceil(fill / block)
    if steps < blocks:
        raise InvalidInput(
            f"steps is {steps}; the {fill} tokens to fill make {blocks} blocks of {block}, each needs a step at least: "
            f"give {blocks} steps or more, or longer blocks."
        )
    return block
