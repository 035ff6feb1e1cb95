"""Capturing a masked diffusion model: one recorded forward per denoising step, written as it comes."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import Tensor

from ..attention.query_sampling import CHECK_EVERY, QuerySampling
from ..attention.recorder import AttentionStats, record_attention
from ..models.loaded import LoadedModel
from ..progress import Progress, ProgressCallback
from ..samplers.canvas import Canvas
from ..samplers.dispatch import sample
from ..samplers.step import Step
from ..specs import SamplingOptions
from .trajectory_output import (
    Clock,
    Pieces,
    Recording,
    live_text,
    new_trajectory,
    result,
    texts,
    token_arrays,
)


class DiffusionCapture:
    """One capture; `run` does it, `result` tells how far it came."""

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
        self._model, self._options, self._canvas, self._steps = model, options, canvas, steps
        self._folder, self._progress, self._recording = folder, progress, recording
        self._last: Step | None = None
        self._clock = Clock()
        self._sampling = QuerySampling(recording.query_stride) if recording.query_stride > 1 else None

    def run(self) -> None:
        model, positions = self._model, self._canvas.tokens.shape[1]
        pieces = Pieces(model)
        with ExitStack() as stack:
            writers = [
                stack.enter_context(
                    new_trajectory(
                        self._folder, i, model, self._recording.precision, self._canvas, self._steps, positions
                    )
                )
                for i in range(len(self._canvas.tokens))
            ]
            recorder = stack.enter_context(record_attention(model, reduce=self._sampling))
            for step in sample(model, self._canvas, self._options):
                stats = recorder.collect()
                more = self._measured(step.index + 1)
                for i, writer in enumerate(writers):
                    arrays = token_arrays(step, i)
                    writer.annotate(pieces=pieces.add(arrays["token"], arrays["next_token"]), **more)
                    writer.append(step.index, **arrays, **_attention_arrays(stats, i))
                self._last = step
                self._progress(self._report(step))

    def result(self) -> dict[str, Any]:
        if self._last is None:
            tokens, blank = self._canvas.tokens, ~self._canvas.given
        else:
            tokens, blank = self._last.next_tokens, _blank(self._last)
        written = texts(self._model, tokens, blank)
        done = 0 if self._last is None else self._last.index + 1
        return result(written, done, self._steps, self._clock, **self._measured(done))

    def _measured(self, next_step: int) -> dict[str, Any]:
        """Return the error of query sampling so far, if queries are sampled; decides whether the next step is
        checked."""
        if self._sampling is None:
            return {}
        self._sampling.check = next_step % CHECK_EVERY == 0
        return {"query_sampling": self._sampling.error()}

    def _report(self, step: Step) -> Progress:
        blank = _blank(step)
        data = {
            "text": live_text(self._model, step.next_tokens[0], blank[0]),
            "masked": int(blank[0].sum()),
            "step_seconds": self._clock.tick(),
        }
        return Progress("denoise", step.index + 1, step.total, "Denoising", data)


def _blank(step: Step) -> Tensor:
    """Positions that are not written yet after a step, bool (batch, sequence)."""
    return step.masked & ~step.accepted


def _attention_arrays(stats: AttentionStats, sample: int) -> dict[str, Any]:
    names = ("received", "received_masked", "entropy", "distance")
    return {name: getattr(stats, name)[sample].numpy() for name in names}
