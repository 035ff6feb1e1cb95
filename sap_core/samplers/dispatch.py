"""`sample`: the steps of one generation by whichever rule the spec names."""

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
    from ..specs import CaptureSpec


def sample(model: LoadedModel, canvas: Canvas, spec: CaptureSpec) -> Iterator[Step]:
    """Generates on a canvas, one `Step` after the other.

    Only the settings of ``spec`` that concern sampling are read: sampler, steps, length, block_length, temperature,
    guidance, seed. Random numbers come from one seeded generator on the CPU, so a seed gives one text on any device.

    Raises:
        InvalidInput: as `check_sampling`, when called, not at the first step.
    """
    sampling = check_sampling(model.info, spec, canvas.fill)
    module, _, function = SAMPLERS[sampling.sampler].run.partition(":")
    generator = torch.Generator().manual_seed(spec.seed)
    return getattr(import_module(module), function)(model, canvas, spec, sampling, generator)
