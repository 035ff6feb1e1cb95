"""Effects of an applied plan: both models record the generation that the quick comparison shows, and are timed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Cancelled, SapError
from ..progress import Progress, ProgressCallback
from ..runs.store import one_line

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel


def measure_both(dense: LoadedModel, pruned: LoadedModel, progress: ProgressCallback) -> dict[str, Any]:
    """Return size and speed of both models, timed in turns.

    Returns:
        {"dense", "pruned": parameters, nonzero_parameters, bytes, tokens_per_second, seconds of one whole generation,
            turns; "speedup", "speedup_low", "speedup_high": pruned over dense}.
    """
    from ..evaluation.cost import generation_speed, model_size, speedup

    own, base = generation_speed([pruned, dense], progress=progress)
    return {"dense": model_size(dense) | base, "pruned": model_size(pruned) | own, **speedup(own, base)}


def denoise_both(
    dense: LoadedModel, pruned: LoadedModel, run: Path, prompt: str, seed: int, progress: ProgressCallback
) -> dict[str, Any]:
    """Record both into ``run``/trajectory: 0.zarr is the dense model, 1.zarr the pruned one.

    It is the generation of `quick_compare`, with the same options: recording changes no token.

    Returns:
        {"steps"}, or {"error"} where one of the two can't be recorded (it can still be pruned and exported).
    """
    folder = run / "trajectory"
    folder.mkdir()
    steps = 0
    try:
        for place, (model, name) in enumerate(((dense, "dense"), (pruned, "pruned"))):
            steps = _record(model, folder, place, prompt, seed, _named(progress, name))
    except Cancelled:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except SapError as error:
        shutil.rmtree(folder, ignore_errors=True)
        return {"error": one_line(error)}
    return {"steps": steps}


def _record(model: LoadedModel, folder: Path, index: int, prompt: str, seed: int, progress: ProgressCallback) -> int:
    """Record one model's trajectory as ``folder``/PLACE.zarr and return its number of steps.

    A capture always writes sample 0, so it is written beside and then moved.
    """
    from ..capturing.autoregressive import AutoregressiveCapture
    from ..capturing.diffusion import DiffusionCapture
    from ..capturing.trajectory_output import Recording
    from ..evaluation.quick import shown_generation
    from ..samplers.canvas import build_canvas
    from ..samplers.check import check_sampling

    options = shown_generation(model, prompt, seed)
    canvas = build_canvas(model, [prompt], options.length)
    sampling = check_sampling(model.info, options, canvas.fill)
    beside = folder / f".{index}"
    beside.mkdir()
    method = DiffusionCapture if model.is_diffusion else AutoregressiveCapture
    work = method(model, options, canvas, sampling.steps, beside, progress, Recording())
    work.run()
    (beside / "0.zarr").rename(folder / f"{index}.zarr")
    shutil.rmtree(beside)
    return int(work.result()["steps"])


def _named(progress: ProgressCallback, name: str) -> ProgressCallback:
    def report(report: Progress) -> None:
        progress(Progress(f"{report.stage}, {name}", report.done, report.total, f"Recording the {name} model", {}))

    return report
