"""The captures of the demo: what Start runs, and what the recorded runs of the package are."""

from __future__ import annotations

from .capture import CaptureSpec

PROMPT = "once there was a"
MODELS = ("demo:stories-diffusion", "demo:stories-ar")


def demo_specs() -> list[CaptureSpec]:
    """Return one capture a model: a story on a canvas of 80 tokens; the diffusion model denoises blocks of 32."""
    return [
        CaptureSpec.build(
            model=model,
            prompts=(PROMPT,),
            length=80,
            steps=None if model.endswith("-ar") else 76,
            block_length=None if model.endswith("-ar") else 32,
            name=f"Demo: {model.removeprefix('demo:')}",
        )
        for model in MODELS
    ]
