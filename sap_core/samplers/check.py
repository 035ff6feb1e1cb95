"""Check whether sampling settings fit the model, before any work. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from ..choices.samplers import BEFORE_SHIFT, CACHED, CACHED_CLASSES, DREAM, FILTERS, GUMBEL, SAMPLERS, SamplerRule
from ..errors import InvalidInput, UnknownOption
from ..models.family import AUTOREGRESSIVE, MASKED_DIFFUSION

if TYPE_CHECKING:
    from ..models.info import ModelInfo
    from ..specs import SamplingOptions
    from .canvas import Canvas


@dataclass(frozen=True)
class Sampling:
    """The settings with every default filled in; what does not apply is None, 0 or False.

    ``draws``: see `sap_core.samplers.denoise.StepContext.draw`. ``rounded_shares``: a block's tokens are shared among
    its steps as dLLM does it. ``ends_given``: the end rule was asked for by name.
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
    cache: str = "none"


def default_steps(info: ModelInfo, options: SamplingOptions, fill: int) -> int:
    """Return the steps that ``options`` take: those given, else the sampler's own number, at most one a token.

    Args:
        info: The model.
        options: The sampler and, if given, its steps.
        fill: Tokens to fill.

    Raises:
        UnknownOption: a sampler this model can't use.
    """
    return options.steps if options.steps is not None else min(_rule(info, options).default_steps or fill, fill)


def check_sampling(info: ModelInfo, options: SamplingOptions, fill: int) -> Sampling:
    """Return ``options`` with the model's defaults filled in, after checking them.

    Args:
        info: Config of the model.
        options: The settings.
        fill: Tokens to fill: of the longest canvas if there are several.

    Raises:
        ModelProblem: a model that denoises a mask token and does not declare one.
        UnknownOption: a sampler this model can't use.
        InvalidInput: a length beyond the model's positions, nothing to fill, more steps than tokens, fewer steps than
            blocks, blocks other than the model's own, guidance or blocks for an autoregressive model, a setting that
            the rule does not read.
    """
    rule = check_sampler(info, options)
    if fill < 1:
        raise InvalidInput(f"The prompt fills all {options.length} tokens; give a greater length or a shorter prompt.")
    steps = default_steps(info, options, fill)
    if steps < 1 or (steps > fill and not rule.extra_steps):
        raise InvalidInput(f"steps is {steps}; there are {fill} tokens to fill, so expected 1 to {fill}.")
    if info.objective == AUTOREGRESSIVE:
        if options.block_length is not None and options.block_length < fill:
            raise InvalidInput(f"block_length belongs to diffusion models; {info.ref} is autoregressive, leave it out.")
        return Sampling(rule.name, steps, fill, temperature=options.temperature)
    own = rule.threshold
    if rule.name == "low_confidence_dynamic" and info.row.threshold is not None:
        own = info.row.threshold
    stops = options.ends == "auto" and info.block_size is not None and "ends" in rule.options
    filters: dict[str, Any] = _filters(info, rule, options)
    return Sampling(
        rule.name,
        steps,
        _block_length(info, rule, options, steps, fill),
        _or(options.threshold, own),
        temperature=options.temperature,
        draws=rule.draws or info.row.draws,
        top_k=filters.get("top_k"),
        top_p=filters.get("top_p"),
        confidence_temperature=options.confidence_temperature or 0.0,
        ends="stop" if stops else options.ends.replace("auto", "fill"),
        ends_given=options.ends != "auto",
        **{name: _or(getattr(options, name), getattr(rule, name)) for name in _SETTINGS},
        rounded_shares=info.row.rounded_shares,
        cache=options.cache,
    )


def check_sampler(info: ModelInfo, options: SamplingOptions) -> SamplerRule:
    """Return the sampler's row, after the checks that do not depend on the number of tokens to fill.

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
    for name in (*FILTERS, "confidence_temperature", *_SETTINGS):
        value = getattr(options, name)
        if value is not None and name not in rule.options:
            raise InvalidInput(f"{name} is {value:g}, but sampler '{rule.name}' has none; leave it out.")
    if options.ends != "auto" and "ends" not in rule.options:
        raise InvalidInput(f"ends is '{options.ends}', but sampler '{rule.name}' has no end rules; leave it out.")
    _filters(info, rule, options)
    if options.cache != "none":
        _check_cache(info, rule, options)
    return rule


def check_canvas(canvas: Canvas, sampling: Sampling) -> None:
    """Raise InvalidInput for a canvas that a cache can't keep: its blocks must be the same columns in every text."""
    if sampling.cache == "none":
        return
    if len(set(canvas.prompt_lengths)) > 1:
        raise InvalidInput(f"cache {sampling.cache} needs prompts of one length; give them one by one.")
    if not bool(canvas.given[:, : canvas.prompt_lengths[0]].all()):
        raise InvalidInput(f"cache {sampling.cache} fills no masks inside a prompt; leave it at none.")


def _check_cache(info: ModelInfo, rule: SamplerRule, options: SamplingOptions) -> None:
    """Raise InvalidInput where Fast-dLLM's caches do not apply."""
    kind, fits = info.native_config.get("model_type"), info.row.adapter == "plain" and info.block_size is None
    if info.objective == AUTOREGRESSIVE or not fits or kind not in CACHED_CLASSES:
        raise InvalidInput(
            f"cache is '{options.cache}', but {info.ref} ({info.title}) can't be computed from cached keys and values "
            f"of a part of its canvas; that works for whole-canvas models in the classes {', '.join(CACHED_CLASSES)}."
        )
    if rule.name not in CACHED:
        raise InvalidInput(
            f"cache is '{options.cache}', but sampler '{rule.name}' looks beyond its block; use {', '.join(CACHED)}."
        )
    if options.guidance:
        raise InvalidInput(f"cache is '{options.cache}', which has no guidance; leave guidance at 0.")


_SETTINGS = ("entropy_limit", "edit_threshold", "remasking")


def _filters(info: ModelInfo, rule: SamplerRule, options: SamplingOptions) -> dict[str, Any]:
    """Return top_k and top_p; the top_k of a family's published settings applies only with the family's own draws."""
    draws = rule.draws or info.row.draws
    given = {name: getattr(options, name) for name in FILTERS}
    if draws not in (DREAM, BEFORE_SHIFT) and not options.temperature:
        for name, value in given.items():
            if value:
                raise InvalidInput(
                    f"{name} is {value:g}, but sampler '{rule.name}' of {info.title} draws nothing at temperature 0, "
                    "where it would do nothing; give a temperature or leave it out."
                )
    own = info.row.top_k if draws == info.row.draws and "top_k" in rule.options else None
    return {"top_k": _or(given["top_k"], own) or None, "top_p": given["top_p"]}


def _or(value: float | None, default: float | None) -> float | None:
    return default if value is None else value


def share_steps(sizes: list[int], steps: int) -> list[int]:
    """Return how ``steps`` are divided among blocks of ``sizes`` tokens, in proportion to them.

    Equal to LLaDA's steps // blocks wherever that is defined (equal blocks that divide the steps). A block never gets
    more steps than it has tokens, as long as steps <= sum(sizes), nor less than one: fewer steps than blocks become one
    each.
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


def _block_length(info: ModelInfo, rule: SamplerRule, options: SamplingOptions, steps: int, fill: int) -> int:
    own, given = info.block_size, options.block_length
    if not rule.blocks:
        if given is not None and given < fill:
            raise InvalidInput(
                f"block_length is {given}, but sampler '{rule.name}' writes the whole canvas; leave it out."
            )
        return fill
    if own is not None:
        if given is not None and own % given:
            raise InvalidInput(
                f"block_length is {given}; {info.ref} has blocks of {own}: leave it out, or give a part of them, which "
                "are then written in order."
            )
        block = given or own
        least = min(math.ceil(fill / block) + 1, fill)  # its blocks do not begin where the prompt ends
        if steps < least:
            raise InvalidInput(f"steps is {steps}; blocks of {block} need at least {least} for {fill} tokens.")
        return block
    block = min(options.block_length or fill, fill)
    blocks = math.ceil(fill / block)
    if steps < blocks:
        raise InvalidInput(
            f"steps is {steps}; the {fill} tokens to fill make {blocks} blocks of {block}, each needs a step at least: "
            f"give {blocks} steps or more, or longer blocks."
        )
    return block
