"""The capture verb: from a prompt to a run whose trajectory holds every step, layer and head."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..attention.recorder import recording_plan
from ..errors import Cancelled, InvalidInput, ModelProblem, OperationFailed
from ..models.family import AUTOREGRESSIVE
from ..models.inspection import inspect_model
from ..models.loaded import LoadedModel
from ..models.loading import load_model
from ..progress import Progress, ProgressCallback, silent
from ..runs.paths import check_new_run
from ..runs.store import create_run
from ..samplers.canvas import build_canvas
from ..samplers.check import check_sampler, check_sampling
from ..specs import CaptureSpec, asked_spec
from ..storage import storage_of
from .autoregressive import AutoregressiveCapture
from .diffusion import DiffusionCapture
from .trajectory_output import Recording

if TYPE_CHECKING:
    from ..models.info import ModelInfo
    from ..runs.reading import Run


def capture(
    model: LoadedModel | str,
    prompt: str | None = None,
    prompts: list[str] | tuple[str, ...] | None = None,
    *,
    spec: CaptureSpec | None = None,
    out: str | os.PathLike | None = None,
    progress: ProgressCallback | None = None,
    **fields: Any,
) -> Run:
    """Generate from one prompt or several (a batch) and record attention; the finished run.

    Args:
        model: a loaded model, or what `load_model` takes.
        spec: in the place of prompts and fields.
        out: the run to make, a folder or an address such as s3://bucket/run; default: a new one among the runs.
        fields: the other fields of `CaptureSpec`: length, steps, sampler, block_length, temperature, guidance, seed,
            name, query_stride, precision, and for a model given by name how to load it.

    Raises:
        InvalidInput: settings that don't fit each other or the model; nothing is written.
        Cancelled: ``progress`` asked to stop; the run folder keeps the steps so far.
        OperationFailed: the model can't be recorded, or the disk is full.
    """
    if prompt is not None and prompts is not None:
        raise InvalidInput("Both prompt and prompts are given; give one of them.")
    texts = tuple(prompts) if prompts is not None else None if prompt is None else (prompt,)
    spec = asked_spec(CaptureSpec.given, model, spec, {"prompts": texts} | fields)
    progress = progress or silent
    if out is not None:
        check_new_run(out)
    if isinstance(model, str):
        model = _load(spec, progress)
    canvas = build_canvas(model, list(spec.prompts), spec.length, chat=spec.chat)
    sampling = check_sampling(model.info, spec, canvas.fill)
    _check_stride(model.info, spec)
    try:
        recording_plan(model)
    except OperationFailed as error:  # found before anything is written
        raise ModelProblem(f"{model.info.ref} can't be captured: {error}") from error
    method = DiffusionCapture if model.is_diffusion else AutoregressiveCapture
    with create_run("capture", spec, out=out) as run:
        folder = run.path / "trajectory"
        storage_of(folder).make_folder(folder)
        recording = Recording(spec.query_stride, spec.precision)
        work = method(model, spec, canvas, sampling.steps, folder, progress, recording)
        try:
            work.run()
        except Cancelled:
            run.finish(work.result(), state="cancelled")
            raise
        return run.finish(work.result())


def check_capture(spec: CaptureSpec) -> None:
    """InvalidInput where the model's config alone shows that it can't be captured like that; nothing is loaded."""
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
