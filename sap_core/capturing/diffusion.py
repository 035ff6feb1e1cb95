"""Capture a masked diffusion model: one recorded forward per denoising step, written as it is made.

Every second or so the place where the capture can continue is written, and once more when it is stopped.
"""

from __future__ import annotations

import contextlib
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..attention.observation import AttentionStats
from ..attention.query_sampling import CHECK_EVERY, QuerySampling
from ..attention.recorder import record_attention
from ..models.fingerprint import model_files
from ..models.loaded import LoadedModel
from ..progress import Progress, ProgressCallback
from ..samplers.canvas import Canvas
from ..samplers.check import check_sampling
from ..samplers.dispatch import goes_on, remembered, sample, seeded
from ..samplers.step import SamplerState, Step
from ..specs import SamplingOptions
from ..trajectory.store import TrajectoryWriter
from .checkpoint import Checkpoint, damaged, write_checkpoint
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

KEEP_SECONDS = 1.0  # the place is kept at most this often, and takes at most ...
KEEP_SHARE = 0.05  # ... this share of the time


class DiffusionCapture:
    """One capture: `run` carries it out, `result` returns its state so far.

    Args:
        kept: Where an earlier one was stopped, to continue from there.

    Raises:
        RunProblem: ``kept`` is damaged, or not of this canvas.
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
        kept: Checkpoint | None = None,
    ) -> None:
        self._model, self._options, self._canvas, self._steps = model, options, canvas, steps
        self._folder, self._progress, self._recording = folder, progress, recording
        self._last: Step | None = None
        self._kept = kept
        self._clock = Clock(kept.seconds if kept else 0.0)
        self._sampling = QuerySampling(recording.query_stride) if recording.query_stride > 1 else None
        self._pieces = Pieces(model, kept.pieces if kept else None)
        self._generator = seeded(options)
        self._keeps = goes_on(model, canvas, options)
        self._files = model_files(model.info.path)
        self._due = 0.0
        if kept is not None:
            try:
                self._go_on(kept)
            except (ValueError, TypeError, KeyError, RuntimeError):
                raise damaged(folder.parent) from None

    def run(self) -> None:
        """Generate and record step by step."""
        model, positions = self._model, self._canvas.tokens.shape[1]
        done = 0 if self._kept is None else self._kept.steps
        state = self._kept and SamplerState(done, self._kept.tokens.to(model.device), self._kept.memory)
        with ExitStack() as stack:
            writers = [
                stack.enter_context(
                    new_trajectory(
                        self._folder, i, model, self._recording.precision, self._canvas, self._steps, positions, done
                    )
                )
                for i in range(len(self._canvas.tokens))
            ]
            if self._kept is not None:
                for writer, measured in zip(writers, self._kept.code_errors, strict=True):
                    writer.code_error = measured
            recorder = stack.enter_context(record_attention(model, reduce=self._sampling))
            numbers = self._generator.get_state()
            try:
                for step in sample(model, self._canvas, self._options, generator=self._generator, state=state):
                    stats = recorder.collect()
                    more = self._measured(step.index + 1)
                    if self._options.cache != "none":
                        more["cache"] = self._options.cache
                    for i, writer in enumerate(writers):
                        arrays = token_arrays(step, i)
                        writer.annotate(pieces=self._pieces.add(arrays["token"], arrays["next_token"]), **more)
                        writer.append(step.index, **arrays, **_attention_arrays(stats, i))
                    self._last, numbers = step, self._generator.get_state()
                    if time.monotonic() >= self._due:
                        self._keep(writers, numbers)
                    self._progress(self._report(step))
            except BaseException:
                if self._last is not None:
                    with contextlib.suppress(Exception):  # what stopped the work is what counts
                        self._keep(writers, numbers)
                raise

    def result(self) -> dict[str, Any]:
        """Return the content of result.json."""
        done, tokens, blank = self._place()
        written = texts(self._model, tokens, blank)
        return result(written, done, self._steps, self._clock, **self._measured(done))

    def _place(self) -> tuple[int, Tensor, Tensor]:
        """Return the steps so far, the canvas, and where it is not written yet."""
        if self._last is not None:
            return self._last.index + 1, self._last.next_tokens, _blank(self._last)
        if self._kept is not None:
            return self._kept.steps, self._kept.tokens, self._kept.blank
        return 0, self._canvas.tokens, ~self._canvas.given

    def _go_on(self, kept: Checkpoint) -> None:
        """Take up random numbers and measurements where they were. Raises ValueError and others where they can't be."""
        shape = self._canvas.tokens.shape
        whole = kept.tokens.dtype == torch.int64 and kept.tokens.shape == kept.blank.shape == shape
        known = whole and 0 <= int(kept.tokens.min()) <= int(kept.tokens.max()) < self._model.info.vocab_size
        remembers = remembered(check_sampling(self._model.info, self._options, self._canvas.fill).sampler)
        if set(kept.memory) != remembers or len(kept.memory.get("start", kept.tokens)) != shape[0]:
            raise ValueError("another sampler")
        if "doubt" in kept.memory and kept.memory["doubt"].shape != shape:
            raise ValueError("another canvas")
        if not known or kept.blank.dtype != torch.bool or kept.steps > self._steps or not self._keeps:
            raise ValueError("another canvas")
        if [len(row) for row in kept.code_errors] != [4] * shape[0]:
            raise ValueError("another number of samples")
        self._generator.set_state(kept.generator)
        if self._sampling is not None:
            self._sampling.restore(kept.query_errors or {})
            self._sampling.check = kept.steps % CHECK_EVERY == 0

    def _keep(self, writers: list[TrajectoryWriter], numbers: Tensor) -> None:
        """Write where to go on, after the steps that lie before it."""
        if not self._keeps:
            return
        begun = time.monotonic()
        for writer in writers:
            writer.flush()
        done, tokens, blank = self._place()
        write_checkpoint(
            self._folder.parent,
            steps=done,
            seconds=self._clock.seconds,
            tokens=tokens,
            blank=blank,
            generator=numbers,
            memory=self._last.memory if self._last else {},
            pieces=self._pieces.known,
            code_errors=[writer.code_error for writer in writers],
            query_errors=None if self._sampling is None else self._sampling.state(),
            model=self._files,
        )
        ended = time.monotonic()
        self._due = ended + max(KEEP_SECONDS, (ended - begun) / KEEP_SHARE)

    def _measured(self, next_step: int) -> dict[str, Any]:
        """Return the error of query sampling so far, if queries are sampled; set whether the next step is checked."""
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
    """Return the positions that are not written yet after a step, bool (batch, sequence)."""
    return step.masked & ~step.accepted


def _attention_arrays(stats: AttentionStats, sample: int) -> dict[str, Any]:
    names = ("received", "received_masked", "entropy", "distance")
    return {name: getattr(stats, name)[sample].numpy() for name in names}
