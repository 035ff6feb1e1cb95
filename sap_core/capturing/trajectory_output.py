"""Shared by both kinds of capture: from a sampler's steps to trajectories on disk, and the live view of a text."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..attention.recorder import recording_plan
from ..models.loaded import LoadedModel
from ..samplers.canvas import Canvas
from ..samplers.step import Step
from ..trajectory.access import LAYER_NUMBERS
from ..trajectory.store import TrajectoryWriter

BLANK = "▢"  # stands for a masked position in a text


class Pieces:
    """The texts of the token ids that occur, as the JSON attribute ``pieces`` of a trajectory."""

    def __init__(self, model: LoadedModel, known: dict[str, str] | None = None) -> None:
        self._model = model
        self.known = dict(known or {})

    def add(self, *arrays: np.ndarray) -> str:
        """Add the tokens of some arrays, and return the JSON of all so far."""
        for token in np.unique(np.concatenate([array.ravel() for array in arrays])).tolist():
            if str(token) not in self.known:
                self.known[str(token)] = self._model.piece(token)
        return json.dumps(self.known, ensure_ascii=False)


class Clock:
    """Seconds per step, smoothed for a live view."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._last = time.monotonic()
        self.begun = self._last - seconds
        self.step_seconds = 0.0

    def tick(self) -> float:
        """Note the end of a step and return its smoothed duration in seconds."""
        now = time.monotonic()
        took, self._last = now - self._last, now
        self.step_seconds = took if not self.step_seconds else 0.8 * self.step_seconds + 0.2 * took
        return self.step_seconds

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.begun


@dataclass(frozen=True)
class Recording:
    """How attention is measured and stored: from every ``query_stride``-th query, in which precision."""

    query_stride: int = 1
    precision: str = "float32"


def new_trajectory(
    folder: Path,
    sample: int,
    model: LoadedModel,
    precision: str,
    canvas: Canvas,
    steps: int,
    positions: int,
    written: int = 0,
) -> TrajectoryWriter:
    """Create the writer of one sample's trajectory, ``folder``/SAMPLE.zarr; its prompt begins at position 0.

    ``written``: steps that are there already.
    """
    plan = recording_plan(model)
    prompt = np.arange(positions) < canvas.prompt_lengths[sample]
    if model.is_diffusion:
        prompt = canvas.given[sample].cpu().numpy()
    return TrajectoryWriter(
        folder / f"{sample}.zarr",
        steps=steps,
        layers=len(plan.layers),
        heads=plan.heads,
        positions=positions,
        precision=precision,
        attrs={
            "objective": model.info.objective,
            "model": model.info.ref,
            "prompt_length": int(canvas.prompt_lengths[sample]),
            "mask_token_id": model.info.mask_token_id,
            "conventions": {name: asdict(known) for name, known in model.info.conventions.items()},
            LAYER_NUMBERS: list(plan.layers),
            "model_layers": model.info.layers,
            "pieces": "{}",
        },
        prompt=prompt,
        written=written,
    )


def token_arrays(step: Step, sample: int, where: slice = slice(None)) -> dict[str, np.ndarray]:
    """Return the per-token variables of one sample at one step."""

    def array(values: Tensor) -> np.ndarray:
        return values[sample, where].cpu().numpy()

    return {
        "token": array(step.tokens),
        "next_token": array(step.next_tokens),
        "masked": array(step.masked),
        "accepted": array(step.accepted),
        "confidence": array(step.confidence),
    }


def live_text(model: LoadedModel, tokens: Tensor, blank: Tensor) -> str:
    """Return the text of one canvas (sequence,), with `BLANK` where ``blank`` is true; runs of blanks are preserved."""
    if model.tokenizer is None:
        return ""
    parts: list[str] = []
    run: list[int] = []
    for token, empty in zip(tokens.tolist(), blank.tolist(), strict=True):
        if not empty:
            run.append(token)
            continue
        if run:
            parts.append(model.decode(run))
            run = []
        parts.append(BLANK)
    if run:
        parts.append(model.decode(run))
    return " ".join(parts)


def texts(model: LoadedModel, tokens: Tensor, blank: Tensor) -> list[str]:
    """Return the texts of all canvases (batch, sequence)."""
    return [live_text(model, row, empty) for row, empty in zip(tokens, blank, strict=True)]


def result(written: list[str], steps: int, planned: int, clock: Clock, **more: Any) -> dict[str, Any]:
    """Return the content of a capture's result.json."""
    return {
        "text": written[0] if written else "",
        "texts": written,
        "samples": len(written),
        "steps": steps,
        "steps_planned": planned,
        "step_seconds": clock.seconds / max(steps, 1),
        **more,
    }
