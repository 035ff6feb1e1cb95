"""Many prompts, each captured as a run of its own by an executor's workers, which load the model themselves."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..capturing.api import capture, check_capture
from ..errors import InvalidInput, OperationFailed, RunProblem
from ..models.loading import load_model
from ..progress import ProgressCallback, silent
from ..runs.files import read_json
from ..runs.listing import remove_run
from ..runs.manifest import MANIFEST
from ..runs.paths import new_run_path
from ..runs.reading import Run, open_run
from ..runs.writers import writer_alive
from ..specs import CaptureSpec, asked_spec
from ..storage import remote_errors, storage_path
from .executors import ProgressBoard, make_executor
from .tasks import Task

if TYPE_CHECKING:
    from ..storage.paths import StoragePath

RUNNER = "sap_core.sweeps.captures:PromptRunner"


def capture_each(
    model: str,
    prompts: Sequence[str] | None = None,
    *,
    spec: CaptureSpec | None = None,
    out: str | os.PathLike | None = None,
    executor: str | Any = "local",
    workers: int | None = None,
    address: str = "auto",
    gpus_per_worker: float | None = None,
    cpus_per_worker: float = 1,
    progress: ProgressCallback = silent,
    **fields: Any,
) -> list[Run]:
    """Capture every prompt as a run of its own, several at once; return the runs in the order of the prompts.

    Args:
        model: What `load_model` takes; each worker loads it once.
        prompts: The prompts.
        spec: In place of prompts and fields.
        out: A folder or address for the runs, prompt-0000 and so on. The same call continues an earlier one: finished
            runs are not made again. Workers write there themselves, so on a cluster it must be a folder that all
            machines see, or an address such as s3://bucket/runs. Default: new runs among the runs.
        executor: "local" or "ray", as for `sweep`.
        workers: Prompts captured at a time; default: one worker, or one per GPU.
        address: Of the Ray cluster.
        gpus_per_worker: GPUs, or fractions of one, for each worker on Ray.
        cpus_per_worker: Processors for each worker on Ray.
        progress: Called after every unit of work.
        **fields: The other fields of `CaptureSpec`. Every prompt starts from the same seed.

    Raises:
        InvalidInput: the request can't be carried out; raised before any work: settings, an ``out`` with a run of other
            settings.
        OperationFailed: prompts failed, named with their reason; the runs of the others are kept. Or the model does not
            load.
        Cancelled: from ``progress``; finished runs are kept.
    """
    if spec is None and (isinstance(prompts, str) or not prompts):
        raise InvalidInput("prompts is a list of texts, one or more; for a single text there is capture().")
    base = asked_spec(CaptureSpec.build, model, spec, {"prompts": None if prompts is None else tuple(prompts)} | fields)
    check_capture(base)
    specs = [_of_prompt(base, number) for number in range(len(base.prompts))]
    paths = [_path_of(out, number) for number in range(len(specs))]
    waiting = [number for number, path in enumerate(paths) if not _made(path, specs[number])]
    pool = make_executor(
        executor, base.device, workers=workers, address=address,
        gpus_per_worker=gpus_per_worker, cpus_per_worker=cpus_per_worker,
    )  # fmt: skip
    failed: dict[str, str] = {}
    with contextlib.closing(pool):
        tasks = [
            Task(paths[n].name, "", {"out": str(paths[n]), "spec": specs[n].model_dump(mode="json")}) for n in waiting
        ]
        board = ProgressBoard("captures", len(specs), len(specs) - len(tasks), progress)
        if tasks:
            with contextlib.closing(pool.run(tasks, RUNNER, base.model_dump(mode="json"))) as events:
                for event in events:
                    if event.kind == "failed":
                        failed[event.task.id] = event.error
                    board.show(event)
    if failed:
        name, why = next(iter(failed.items()))
        raise OperationFailed(
            f"{len(failed)} of {len(specs)} prompts failed; the first, {name}: {why}. The runs of the others are in "
            f"{paths[0].parent}; the same call tries the rest again."
        )
    return [_opened(path) for path in paths]


def _of_prompt(base: CaptureSpec, number: int) -> CaptureSpec:
    name = f"{base.name} {number + 1}" if base.name else ""
    return base.model_copy(update={"prompts": base.prompts[number : number + 1], "name": name})


def _path_of(out: str | os.PathLike | None, number: int) -> StoragePath:
    return new_run_path("capture") if out is None else storage_path(out) / f"prompt-{number:04d}"


def _made(path: StoragePath, spec: CaptureSpec) -> bool:
    """Return whether the finished run of ``spec`` exists.

    Raises:
        InvalidInput: something else is there.
    """
    with remote_errors(path):
        if not path.exists():
            return False
        result, manifest = read_json(path / "spec.json"), read_json(path / MANIFEST)
        if result != spec.model_dump(mode="json"):
            raise InvalidInput(f"{path} holds something other than this prompt's run; choose another out.")
        if manifest is None and writer_alive(path):
            raise InvalidInput(f"{path} is being written; wait for it, or stop it first.")
        return isinstance(manifest, dict) and manifest.get("state") == "finished"


def _opened(path: StoragePath) -> Run:
    try:
        return open_run(path)
    except RunProblem as error:
        raise OperationFailed(
            f"A worker wrote {path}, which can't be read here ({error}). On a cluster, out must be a folder that all "
            "machines see, or an address."
        ) from None


class PromptRunner:
    """Captures prompt after prompt with a model that stays loaded. ``options``: the spec of all prompts, as a dict."""

    def __init__(self, options: dict[str, Any]) -> None:
        spec = CaptureSpec.build(**options)
        self._model = load_model(spec.model, **spec.loading)

    def run(self, payload: dict[str, Any], progress: ProgressCallback = silent) -> dict[str, Any]:
        """Capture the run {"out", "spec"}, after removing what a lost worker left of it."""
        path, spec = storage_path(payload["out"]), CaptureSpec.build(**payload["spec"])
        if _made(path, spec):
            run = open_run(path)
        else:
            with remote_errors(path):
                if path.exists():  # `_made` has seen that it is this prompt's run, and that nobody writes it
                    remove_run(path)
            run = capture(self._model, spec=spec, out=path, progress=progress)
        return {"run": str(run.path), "seconds": run.seconds}
