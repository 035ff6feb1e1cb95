"""`capture`: from a prompt to a run whose trajectory holds every step, layer and head."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..attention.recorder import recording_plan
from ..errors import Cancelled, InvalidInput, ModelProblem, OperationFailed
from ..models.family import AUTOREGRESSIVE
from ..models.inspection import inspect_model
from ..models.loaded import LoadedModel
from ..models.loading import load_model
from ..models.memory import trajectory_bytes
from ..progress import Progress, ProgressCallback, silent
from ..runs.manifest import CHECKPOINT
from ..runs.paths import check_new_run, runs_root
from ..runs.store import create_run, reopen_run
from ..samplers.canvas import Canvas, build_canvas
from ..samplers.check import check_canvas, check_sampler, check_sampling
from ..samplers.prompts import unknown_prompts
from ..specs import CaptureSpec, asked_spec
from ..storage import check_space, remote_errors, storage_of, storage_path
from .autoregressive import AutoregressiveCapture
from .diffusion import DiffusionCapture
from .resume import Interrupted, interrupted_capture
from .trajectory_output import Recording

if TYPE_CHECKING:
    from ..models.info import ModelInfo
    from ..runs.reading import Run
    from ..runs.store import RunWriter
    from ..storage.paths import StoragePath


def capture(
    model: LoadedModel | str | None = None,
    prompt: str | None = None,
    prompts: list[str] | tuple[str, ...] | None = None,
    *,
    spec: CaptureSpec | None = None,
    out: str | os.PathLike | None = None,
    resume: str | os.PathLike | None = None,
    progress: ProgressCallback | None = None,
    **fields: Any,
) -> Run:
    """Generate from one prompt or several (a batch), record attention, and return the finished run.

    Args:
        model: A loaded model, or what `load_model` takes; with ``resume`` that of the run if left out.
        prompt: One prompt.
        prompts: Several prompts, as one batch.
        spec: In place of prompts and fields.
        out: The run to make, a folder or an address such as s3://bucket/run; default: a new one among the runs.
        resume: The folder, address or id of a capture that was stopped, to continue in its place. The result is bit for
            bit that of an uninterrupted one, on the same machine and versions. Settings that are given must be those it
            was begun with. Left to right, with DiffusionGemma and with a cache, all steps are made again.
        progress: Called after every step.
        **fields: The other fields of `CaptureSpec`: length, steps, sampler, block_length, temperature, guidance, seed,
            name, query_stride, precision, and for a model given by name how to load it.

    Raises:
        InvalidInput: settings that don't fit each other, the model, or the run to go on with; nothing is written.
        Cancelled: ``progress`` asked to stop; the run folder keeps the steps so far, `resume` goes on with them.
        OperationFailed: the model can't be recorded, or the disk is full.
    """
    progress = progress or silent
    given = {"prompts": _one_batch(prompt, prompts)} | fields
    before: Interrupted | None = None
    if resume is not None:
        if out is not None:
            raise InvalidInput("resume goes on with a run in its own place; leave `out` out.")
        before = interrupted_capture(resume, model, spec, **given)
        spec = before.spec
    else:
        spec = asked_spec(CaptureSpec.given, model, spec, given)
    if out is not None:
        check_new_run(out)
    if not isinstance(model, LoadedModel):
        model = _load(spec, progress)
    prepared = _prepare(model, spec, before, progress)
    if prepared.from_start:
        prepared.check_space(before.path if before is not None else storage_path(out) if out is not None else None)
    if before is None:
        return _record(create_run("capture", spec, out=out), prepared)
    before.check_model(model.info)
    prepared.work(before.path / "trajectory")  # refuses what is damaged while the run is as it was
    return _record(reopen_run(before.path, spec), prepared)


@dataclass(frozen=True)
class _Prepared:
    """A capture whose settings fit the model and each other: all that is left is to do it."""

    model: LoadedModel
    spec: CaptureSpec
    canvas: Canvas
    steps: int
    before: Interrupted | None
    progress: ProgressCallback
    notes: dict[str, Any]

    @property
    def from_start(self) -> bool:
        """Whether all steps are to be made, because none of an earlier run are kept."""
        return self.before is None or self.before.kept is None

    def check_space(self, path: StoragePath | None) -> None:
        """Raise InvalidInput if the trajectory does not fit where it will be written; None: among the runs."""
        size = len(self.spec.prompts), self.canvas.tokens.shape[1], self.steps
        needed = trajectory_bytes(self.model.info, *size, self.spec.precision)
        advice = "choose fewer steps, another --out, or --precision uint8"
        check_space(path if path is not None else runs_root(), needed, "The trajectory", advice)

    def work(self, folder: StoragePath) -> DiffusionCapture | AutoregressiveCapture:
        """Return the work that records into ``folder``."""
        recording = Recording(self.spec.query_stride, self.spec.precision)
        common = self.model, self.spec, self.canvas, self.steps, folder, self.progress, recording
        if not self.model.is_diffusion:
            return AutoregressiveCapture(*common)
        return DiffusionCapture(*common, self.before.kept if self.before is not None else None)


def _one_batch(prompt: str | None, prompts: list[str] | tuple[str, ...] | None) -> tuple[str, ...] | None:
    if prompt is not None and prompts is not None:
        raise InvalidInput("Both prompt and prompts are given; give one of them.")
    if prompts is not None:
        return tuple(prompts)
    return None if prompt is None else (prompt,)


def _prepare(
    model: LoadedModel, spec: CaptureSpec, before: Interrupted | None, progress: ProgressCallback
) -> _Prepared:
    """Check that the settings fit the model and that it can be recorded."""
    canvas = build_canvas(model, list(spec.prompts), spec.length, chat=spec.chat)
    warning = unknown_prompts(model, spec.prompts)
    sampling = check_sampling(model.info, spec, canvas.fill)
    check_canvas(canvas, sampling)
    _check_stride(model.info, spec)
    try:
        recording_plan(model)
    except OperationFailed as error:  # found before anything is written
        raise ModelProblem(f"{model.info.ref} can't be captured: {error}") from error
    notes = {} if warning is None else {"warning": warning}
    return _Prepared(model, spec, canvas, sampling.steps, before, progress, notes)


def _record(opened: AbstractContextManager[RunWriter], prepared: _Prepared) -> Run:
    """Generate and record into an open run; stopped, it keeps the steps so far."""
    with opened as run:
        folder = run.path / "trajectory"
        if prepared.from_start:
            _empty(folder)
        else:
            _tidy(run.path)
        work = prepared.work(folder)
        try:
            work.run()
        except (Cancelled, KeyboardInterrupt):
            run.stop(work.result() | prepared.notes)
            raise
        return run.finish(work.result() | prepared.notes)


def _empty(folder: StoragePath) -> None:
    """Make the folder of the trajectories; what an interrupted capture left there goes."""
    storage = storage_of(folder)
    with remote_errors(folder):
        if folder.is_dir():
            storage.remove(folder)
    storage.make_folder(folder)


def _tidy(run: StoragePath) -> None:
    """Remove what a killed process was just writing to a folder of this machine."""
    if not storage_of(run).remote:
        for part in (*run.glob("trajectory/**/*.partial"), *run.glob(f".{CHECKPOINT}.*")):
            part.unlink(missing_ok=True)


def check_capture(spec: CaptureSpec) -> None:
    """Raise InvalidInput if the model's config shows that it can't be captured like that; nothing is loaded."""
    info = inspect_model(spec.model, **spec.inspecting)
    check_sampler(info, spec)
    _check_stride(info, spec)


def _load(spec: CaptureSpec, progress: ProgressCallback) -> LoadedModel:
    check_capture(spec)
    progress(Progress("load", 0, 1, "Loading the model"))
    return load_model(spec.model, **spec.loading)


def _check_stride(info: ModelInfo, spec: CaptureSpec) -> None:
    if spec.query_stride > 1 and info.objective == AUTOREGRESSIVE:
        raise InvalidInput(
            f"query_stride is {spec.query_stride}, but {info.ref} is autoregressive: one pass gives its whole "
            "trajectory, there is nothing to save; leave it at 1."
        )
