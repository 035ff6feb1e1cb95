"""Memory of a forward pass, counted by torch itself: the memory of the process around it is not included."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel

_LENGTH = 128


def peak_memory(model: LoadedModel) -> int:
    """Return the bytes of the weights and of the most that is allocated during one forward pass of 128 tokens.

    On a GPU it is the allocator's own peak; elsewhere the running sum of allocations and frees in the profiler.
    """
    length = min(_LENGTH, model.info.max_length or _LENGTH)
    tokens = torch.zeros(1, length, dtype=torch.long, device=model.device)
    weights = sum(p.numel() * p.element_size() for p in model.module.parameters())
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
        before = torch.cuda.memory_allocated(model.device)
        model.logits(tokens)
        return weights + torch.cuda.max_memory_allocated(model.device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it writes two lines to the terminal otherwise
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        model.logits(tokens)
    profiler: Any = profile.profiler
    events = [event for event in profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return weights + most
