"""Lets a model write, greedily: what tasks, speed and side-by-side texts are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ..specs import CaptureSpec

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel


def write(model: LoadedModel, prompts: list[str], *, length: int, steps: int | None = None, seed: int = 0) -> Tensor:
    """Tokens [prompts, length] after the last step, prompts included, at temperature 0 with the model's own sampler.

    ``steps``: denoising steps, or tokens to write for an autoregressive model; None takes as many as there are tokens
    to write, at most 64 for a diffusion model.
    """
    from ..samplers import build_canvas, sample

    spec = CaptureSpec.build(
        model=model.info.ref, prompts=tuple(prompts), length=length, steps=steps, temperature=0.0, seed=seed
    )
    tokens = None
    for step in sample(model, build_canvas(model, prompts, length), spec):
        tokens = step.next_tokens
    return tokens
