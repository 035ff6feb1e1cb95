"""`sample`: the steps of one generation by the rule that the options name."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

import torch

from ..choices.samplers import SAMPLERS
from .canvas import Canvas
from .check import check_sampling
from .step import Step

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..specs import SamplingOptions


def sample(model: LoadedModel, canvas: Canvas, options: SamplingOptions) -> Iterator[Step]:
    """Generates on a canvas, one `Step` after the other.

    Random numbers come from one seeded generator on the CPU, so a seed gives one text on any device.

    Raises:
        InvalidInput: as `check_sampling`, when called, not at the first step.
    """
    sampling = check_sampling(model.info, options, canvas.fill)
    module, _, function = SAMPLERS[sampling.sampler].run.partition(":")
    generator = torch.Generator().manual_seed(options.seed)
    return getattr(import_module(module), function)(model, canvas, options, sampling, generator)
