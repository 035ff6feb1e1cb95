"""Whether a capture's sampling settings fit its model, before any work. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ..errors import InvalidInput, UnknownOption
from ..models.family import AUTOREGRESSIVE
from .rules import SAMPLERS

if TYPE_CHECKING:
    from ..models.info import ModelInfo
    from ..specs import CaptureSpec

DEFAULT_STEPS = 64


@dataclass(frozen=True)
class Sampling:
    """The settings with every default filled in."""

    sampler: str
    steps: int
    block_length: int


def check_sampling(info: ModelInfo, spec: CaptureSpec, fill: int) -> Sampling:
    """Fills in the defaults of a spec for this model.

    Args:
        fill: Tokens to fill: of the longest canvas if there are several.

    Raises:
        UnknownOption: a sampler this model can't use.
        InvalidInput: a length beyond the model's positions, nothing to fill, more steps than tokens, fewer steps than
            blocks, guidance or blocks for an autoregressive model.
    """
    if info.max_length is not None and spec.length > info.max_length:
        raise InvalidInput(f"length is {spec.length}; {info.ref} takes at most {info.max_length} tokens.")
    name = info.samplers[0] if spec.sampler == "auto" else spec.sampler
    if name not in info.samplers:
        usable = f"{info.ref} is {info.objective.replace('_', ' ')}."
        if name in SAMPLERS:
            known = ", ".join(info.samplers)
            raise InvalidInput(f"Sampler '{name}' does not fit: {usable} Use one of: {known}.")
        raise UnknownOption("sampler", name, info.samplers, hint=usable)
    if fill < 1:
        raise InvalidInput(f"The prompt fills all {spec.length} tokens; give a greater length or a shorter prompt.")
    steps = spec.steps if spec.steps is not None else (fill if _causal(info) else min(DEFAULT_STEPS, fill))
    if not 1 <= steps <= fill:
        raise InvalidInput(f"steps is {steps}; there are {fill} tokens to fill, so expected 1 to {fill}.")
    if _causal(info):
        if spec.guidance:
            raise InvalidInput(f"guidance is {spec.guidance:g}, but {info.ref} is autoregressive; leave it at 0.")
        if spec.block_length is not None and spec.block_length < fill:
            raise InvalidInput(f"block_length belongs to diffusion models; {info.ref} is autoregressive, leave it out.")
        return Sampling(name, steps, fill)
    block = min(spec.block_length or info.block_size or fill, fill)
    blocks = math.ceil(fill / block)
    if steps < blocks:
        raise InvalidInput(
            f"steps is {steps}; the {fill} tokens to fill make {blocks} blocks of {block}, each needs a step at least: "
            f"give {blocks} steps or more, or longer blocks."
        )
    return Sampling(name, steps, block)


def steps_of_blocks(fill: int, block: int, steps: int) -> list[int]:
    """How ``steps`` are shared among the blocks of a canvas, in proportion to their tokens.

    Equal to LLaDA's steps // blocks wherever that is defined (blocks divide the tokens and the steps). A block never
    gets more steps than it has tokens, nor less than one, as long as blocks <= steps <= fill.
    """
    edges = [steps * min(start, fill) // fill for start in range(0, fill + block, block)]
    return [after - before for before, after in pairwise(edges)]


def _causal(info: ModelInfo) -> bool:
    return info.objective == AUTOREGRESSIVE
