"""Denoising rules and the autoregressive loop. Each yields its steps, so that progress and cancelling fall out."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "Canvas": "canvas",
    "SAMPLERS": "rules",
    "Sampling": "check",
    "Step": "step",
    "build_canvas": "canvas",
    "check_sampling": "check",
    "read_prompts": "prompts",
    "sample": "dispatch",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
