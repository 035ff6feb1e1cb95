"""Whether a capture's sampling settings fit its model, before any work. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from ..choices.samplers import BEFORE_SHIFT, DREAM, FILTERS, GUMBEL, SAMPLERS, SamplerRule
from ..errors import InvalidInput, UnknownOption
from ..models.family import AUTOREGRESSIVE, MASKED_DIFFUSION

if TYPE_CHECKING:
    from ..models.info import ModelInfo
    from ..specs import CaptureSpec


@dataclass(frozen=True)
class Sampling:
    """The settings with every default filled in; what does not apply is None, 0 or False.

    ``draws``: see `sap_core.samplers.denoise.Moment.draw`. ``rounded_shares``: a block's tokens are shared among its
    steps as dLLM does it. ``ends_given``: the end rule was asked for by name.
    """

    sampler: str
    steps: int
    block_length: int
    threshold: float | None = None
    temperature: float = 0.0
    draws: str = GUMBEL
    top_k: int | None = None
    top_p: float | None = None
    confidence_temperature: float = 0.0
    ends: str = "fill"
    ends_given: bool = False
    entropy_limit: float | None = None
    edit_threshold: float | None = None
    remasking: float | None = None
    rounded_shares: bool = False


def check_sampling(info: ModelInfo, spec: CaptureSpec, fill: int) -> Sampling:
    """Fills in the defaults of a spec for this model.

    Args:
        fill: Tokens to fill: of the longest canvas if there are several.

    Raises:
        ModelProblem: a model that denoises a mask token and does not declare one.
        UnknownOption: a sampler this model can't use.
        InvalidInput: a length beyond the model's positions, nothing to fill, more steps than tokens, fewer steps than
            blocks, blocks other than the model's own, guidance or blocks for an autoregressive model, a setting that
            the rule does not read.
    """
    if info.max_length is not None and spec.length > info.max_length:
        raise InvalidInput(f"length is {spec.length}; {info.ref} takes at most {info.max_length} tokens.")
    rule = _rule(info, spec)
    if info.objective == MASKED_DIFFUSION and info.row.has_mask:
        info.check_masked()
    if fill < 1:
        raise InvalidInput(f"The prompt fills all {spec.length} tokens; give a greater length or a shorter prompt.")
    steps = _steps(rule, spec, fill)
    if spec.threshold is not None and rule.threshold is None:
        raise InvalidInput(f"threshold is {spec.threshold:g}, but sampler '{rule.name}' has none; leave it out.")
    _check_options(rule, spec)
    if info.objective == AUTOREGRESSIVE:
        if spec.guidance:
            raise InvalidInput(f"guidance is {spec.guidance:g}, but {info.ref} is autoregressive; leave it at 0.")
        if spec.block_length is not None and spec.block_length < fill:
            raise InvalidInput(f"block_length belongs to diffusion models; {info.ref} is autoregressive, leave it out.")
        return Sampling(rule.name, steps, fill, temperature=spec.temperature)
    if spec.guidance and not rule.guidance:
        raise InvalidInput(f"guidance is {spec.guidance:g}, but sampler '{rule.name}' has none; leave it at 0.")
    own, given = rule.threshold, spec.threshold
    if rule.name == "low_confidence_dynamic" and info.row.threshold is not None:
        own = info.row.threshold
    draws = rule.draws or info.row.draws
    stops = spec.ends == "auto" and info.block_size is not None and "ends" in rule.options
    return Sampling(
        rule.name,
        steps,
        _block_length(info, rule, spec, steps, fill),
        own if given is None else given,
        temperature=spec.temperature,
        draws=draws,
        **_filters(info, rule, spec, draws),
        confidence_temperature=spec.confidence_temperature or 0.0,
        ends="stop" if stops else spec.ends.replace("auto", "fill"),
        ends_given=spec.ends != "auto",
        **{name: _or(getattr(spec, name), getattr(rule, name)) for name in _SETTINGS},
        rounded_shares=info.row.rounded_shares,
    )


_SETTINGS = ("entropy_limit", "edit_threshold", "remasking")


def _steps(rule: SamplerRule, spec: CaptureSpec, fill: int) -> int:
    steps = spec.steps if spec.steps is not None else min(rule.default_steps or fill, fill)
    if steps < 1 or (steps > fill and not rule.extra_steps):
        raise InvalidInput(f"steps is {steps}; there are {fill} tokens to fill, so expected 1 to {fill}.")
    return steps


def _check_options(rule: SamplerRule, spec: CaptureSpec) -> None:
    """Refuse a setting that the rule would ignore."""
    for name in (*FILTERS, "confidence_temperature", *_SETTINGS):
        value = getattr(spec, name)
        if value is not None and name not in rule.options:
            raise InvalidInput(f"{name} is {value:g}, but sampler '{rule.name}' has none; leave it out.")
    if spec.ends != "auto" and "ends" not in rule.options:
        raise InvalidInput(f"ends is '{spec.ends}', but sampler '{rule.name}' has no end rules; leave it out.")


def _filters(info: ModelInfo, rule: SamplerRule, spec: CaptureSpec, draws: str) -> dict[str, float | None]:
    """top_k and top_p; the top_k that a family's published settings hand down applies where its own draws do."""
    given = {name: getattr(spec, name) for name in FILTERS}
    if draws not in (DREAM, BEFORE_SHIFT) and not spec.temperature:
        for name, value in given.items():
            if value:
                raise InvalidInput(
                    f"{name} is {value:g}, but sampler '{rule.name}' of {info.title} draws nothing at temperature 0, "
                    "where it would do nothing; give a temperature or leave it out."
                )
    own = info.row.top_k if draws == info.row.draws and "top_k" in rule.options else None
    top_k = own if given["top_k"] is None else given["top_k"]
    return {"top_k": top_k or None, "top_p": given["top_p"]}


def _or(value: float | None, default: float | None) -> float | None:
    return default if value is None else value


def share_steps(sizes: list[int], steps: int) -> list[int]:
    """How ``steps`` are shared among blocks of ``sizes`` tokens, in proportion to them.

    Equal to LLaDA's steps // blocks wherever that is defined (equal blocks that divide the steps). A block never gets
    more steps than it has tokens, as long as steps <= sum(sizes), nor less than one: fewer steps than blocks become
    one each.
    """
    spare, room = max(steps - len(sizes), 0), sum(sizes) - len(sizes)
    edges = [0, *accumulate(size - 1 for size in sizes)]
    return [1 + (spare * after // room - spare * before // room if room else 0) for before, after in pairwise(edges)]


def _rule(info: ModelInfo, spec: CaptureSpec) -> SamplerRule:
    name = info.samplers[0] if spec.sampler == "auto" else spec.sampler
    if name in info.samplers:
        return SAMPLERS[name]
    kind = f"{info.ref} is {info.objective.replace('_', ' ')}."
    if name in SAMPLERS:
        raise InvalidInput(f"Sampler '{name}' does not fit: {kind} Use one of: {', '.join(info.samplers)}.")
    raise UnknownOption("sampler", name, info.samplers, hint=kind)


def _block_length(info: ModelInfo, rule: SamplerRule, spec: CaptureSpec, steps: int, fill: int) -> int:
    own = info.block_size
    if not rule.blocks:
        if spec.block_length is not None and spec.block_length < fill:
            raise InvalidInput(
                f"block_length is {spec.block_length}, but sampler '{rule.name}' writes the whole canvas; leave it out."
            )
        return fill
    if own is not None:
        if spec.block_length is not None and own % spec.block_length:
            raise InvalidInput(
                f"block_length is {spec.block_length}; {info.ref} has blocks of {own}: leave it out, or give a part of "
                "them to be written in order."
            )
        block = spec.block_length or own
        least = min(math.ceil(fill / block) + 1, fill)  # its blocks do not begin where the prompt ends
        if steps < least:
            raise InvalidInput(f"steps is {steps}; blocks of {block} need at least {least} for {fill} tokens.")
        return block
    block = min(spec.block_length or fill, fill)
    blocks = math.ceil(fill / block)
    if steps < blocks:
        raise InvalidInput(
            f"steps is {steps}; the {fill} tokens to fill make {blocks} blocks of {block}, each needs a step at least: "
            f"give {blocks} steps or more, or longer blocks."
        )
    return block
