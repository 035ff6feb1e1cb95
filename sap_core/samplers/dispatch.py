"""`sample`: the steps of one generation by the rule that the options name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from .autoregressive import autoregressive
from .canvas import Canvas
from .check import check_canvas, check_sampling
from .denoise import Sampler
from .editing import token_editing
from .llada import confidence_threshold, low_confidence, low_confidence_dynamic, random
from .observed import entropy_bound
from .remasking import p2, remdm_cap, remdm_conf, remdm_loop, remdm_rescale
from .schedule import (
    entropy_bounded_sampler,
    entropy_linear_sampler,
    entropy_sampler,
    maskgit_plus_sampler,
    mdlm_sampler,
    origin_sampler,
    topk_margin_sampler,
)
from .step import SamplerState, Step

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..specs import SamplingOptions

# name in `choices.samplers.SAMPLERS` -> (model, canvas, options, sampling, generator) -> steps
RUN: dict[str, Sampler] = {
    "low_confidence": low_confidence,
    "random": random,
    "confidence_threshold": confidence_threshold,
    "origin": origin_sampler,
    "maskgit_plus": maskgit_plus_sampler,
    "topk_margin": topk_margin_sampler,
    "entropy": entropy_sampler,
    "mdlm": mdlm_sampler,
    "low_confidence_dynamic": low_confidence_dynamic,
    "low_confidence_static": low_confidence,
    "entropy_linear": entropy_linear_sampler,
    "entropy_bounded": entropy_bounded_sampler,
    "token_editing": token_editing,
    "p2": p2,
    "remdm_cap": remdm_cap,
    "remdm_rescale": remdm_rescale,
    "remdm_conf": remdm_conf,
    "remdm_loop": remdm_loop,
    "entropy_bound": entropy_bound,
    "autoregressive": autoregressive,
}


FROM_START = ("entropy_bound", "autoregressive")  # which keep more between steps than a `SamplerState` holds


def sample(
    model: LoadedModel,
    canvas: Canvas,
    options: SamplingOptions,
    *,
    generator: torch.Generator | None = None,
    state: SamplerState | None = None,
) -> Iterator[Step]:
    """Yield the steps of one generation on a canvas.

    Random numbers come from one seeded generator on the CPU, so a seed gives one text on any device.

    Args:
        model: The model.
        canvas: Where generation starts.
        options: Sampler and settings.
        generator: In the place of one seeded by the options.
        state: Go on from there; ``generator`` must be in the state that it had then. Not for `FROM_START`.

    Raises:
        InvalidInput: as `check_sampling`, when called, not at the first step.
    """
    sampling = check_sampling(model.info, options, canvas.fill)
    check_canvas(canvas, sampling)
    generator = seeded(options) if generator is None else generator
    more = {} if state is None else {"state": state}
    return RUN[sampling.sampler](model, canvas, options, sampling, generator, **more)


def seeded(options: SamplingOptions) -> torch.Generator:
    """Return the source of a generation's random numbers."""
    return torch.Generator().manual_seed(options.seed)


def remembered(sampler: str) -> set[str]:
    """Return the names of what a sampler's steps remember (`Step.memory`)."""
    if sampler == "token_editing":
        return {"block", "after", "over"}
    if sampler.startswith("remdm"):
        return {"doubt"}
    return set() if sampler == "p2" else {"block", "step", "start"}


def goes_on(model: LoadedModel, canvas: Canvas, options: SamplingOptions) -> bool:
    """Return whether the sampler that the options name can go on from a `SamplerState`; with a cache it can't."""
    sampling = check_sampling(model.info, options, canvas.fill)
    return sampling.sampler not in FROM_START and sampling.cache == "none"
