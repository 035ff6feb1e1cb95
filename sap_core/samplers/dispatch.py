"""`sample`: the steps of one generation by the rule that the options name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from .autoregressive import autoregressive
from .canvas import Canvas
from .check import check_sampling
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
from .step import Step

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


def sample(model: LoadedModel, canvas: Canvas, options: SamplingOptions) -> Iterator[Step]:
    """Generate on a canvas, one `Step` after the other.

    Random numbers come from one seeded generator on the CPU, so a seed gives one text on any device.

    Raises:
        InvalidInput: as `check_sampling`, when called, not at the first step.
    """
    sampling = check_sampling(model.info, options, canvas.fill)
    generator = torch.Generator().manual_seed(options.seed)
    return RUN[sampling.sampler](model, canvas, options, sampling, generator)
