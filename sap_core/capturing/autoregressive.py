"""Capture an autoregressive model: generate first, then ONE pass over each text gives its whole trajectory.

A causal model's rows do not change when its text grows, so the attention a prefix received is a running mean of rows.
Padding is not included: each sample's text is passed alone, and position 0 is the first token of its prompt.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..attention.attention_rows import Attention, Buffers
from ..attention.observation import Queries
from ..attention.recorder import record_attention
from ..attention.row_statistics import prefix_statistics
from ..models.loaded import LoadedModel
from ..progress import Progress, ProgressCallback
from ..samplers.canvas import Canvas
from ..samplers.dispatch import sample
from ..samplers.step import Step
from ..specs import SamplingOptions
from ..trajectory.store import TrajectoryWriter
from .trajectory_output import (
    Clock,
    Pieces,
    Recording,
    live_text,
    new_trajectory,
    result,
    token_arrays,
)


class AutoregressiveCapture:
    """One capture: `run` carries it out, `result` returns its state so far.

    If it is cancelled while generating, the pass over the text so far is still made, so that the partial run has a
    trajectory.
    """

    def __init__(
        self,
        model: LoadedModel,
        options: SamplingOptions,
        canvas: Canvas,
        steps: int,
        folder: Path,
        progress: ProgressCallback,
        recording: Recording,
    ) -> None:
        self._model, self._options, self._canvas, self._planned = model, options, canvas, steps
        self._folder, self._progress, self._recording = folder, progress, recording
        self._steps: list[Step] = []
        self._clock = Clock()

    def run(self) -> None:
        """Generate, then record one pass over each text."""
        try:
            for step in sample(self._model, self._canvas, self._options):
                self._steps.append(step)
                self._progress(self._report(step))
        except BaseException:
            if self._steps:
                with contextlib.suppress(Exception):  # what ended the work is what counts
                    self._record()
            raise
        self._record()

    def result(self) -> dict[str, Any]:
        """Return the content of result.json."""
        written = [self._text(i) for i in range(len(self._canvas.tokens))]
        return result(written, len(self._steps), self._planned, self._clock)

    def _record(self) -> None:
        samples = len(self._canvas.tokens)
        for i in range(samples):
            where = self._columns(i)
            count = len(self._steps)
            writer = new_trajectory(
                self._folder, i, self._model, self._recording.precision, self._canvas, count, where.stop - where.start
            )
            _record_sample(self._model, self._steps, i, where, self._canvas.prompt_lengths[i], writer)

    def _columns(self, sample: int) -> slice:
        """Return the canvas columns of one sample's text, without the padding before it and what was never written."""
        start = self._canvas.tokens.shape[1] - self._canvas.fill
        return slice(start - self._canvas.prompt_lengths[sample], start + len(self._steps))

    def _text(self, sample: int) -> str:
        tokens = self._steps[-1].next_tokens if self._steps else self._canvas.tokens
        row = tokens[sample, self._columns(sample)]
        return live_text(self._model, row, torch.zeros_like(row, dtype=torch.bool))

    def _report(self, step: Step) -> Progress:
        data = {
            "text": self._text(0),
            "masked": step.total - step.index - 1,
            "step_seconds": self._clock.tick(),
        }
        return Progress("generate", step.index + 1, step.total, "Generating", data)


def _record_sample(
    model: LoadedModel, steps: list[Step], sample: int, where: slice, prompt: int, writer: TrajectoryWriter
) -> None:
    rows = [token_arrays(step, sample, where) for step in steps]
    arrays = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    writer.write_all(len(steps), **arrays)
    seen: Tensor = steps[-1].tokens[sample, where][: prompt + len(steps) - 1]  # the last token is never an input
    buffers = Buffers()

    def reduce(layer: int, inputs: Attention, queries: Queries) -> None:
        found = prefix_statistics(inputs, prompt, buffers=buffers)
        received = np.zeros((len(steps), found.received.shape[2], where.stop - where.start), np.float32)
        received[..., : len(seen)] = found.received[0].numpy()
        writer.write_layer(
            recorder.layers.index(layer),
            len(steps),
            received=received,
            received_masked=np.zeros_like(received),
            entropy=found.entropy[0].numpy(),
            distance=found.distance[0].numpy(),
        )

    with record_attention(model, reduce=reduce) as recorder:
        model.logits(seen[None])
        recorder.results()
    writer.mark(len(steps), pieces=Pieces(model).add(arrays["token"], arrays["next_token"]))
