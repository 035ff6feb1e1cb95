"""`export_run`: write the checkpoint of a prune run, whose folder holds the spec and the plan but not the weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput, OperationFailed, RunProblem
from ..progress import ProgressCallback, silent
from ..runs.reading import Run, open_run
from ..specs import ExportSpec, parse_spec
from ..specs.base import asked_spec
from ..untrusted import is_file
from .target import checkpoint_output

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..pruning.strategies.report import Pruned
    from ..storage.output import Output
    from .checkpoint import ExportReport
    from .gguf import GgufReport


def export_run(
    run: Run | str | os.PathLike | None = None,
    out: str | os.PathLike | Output | None = None,
    *,
    overwrite: bool | None = None,
    verify: bool | None = None,
    spec: ExportSpec | None = None,
    pruned: Pruned | None = None,
    model: LoadedModel | None = None,
    progress: ProgressCallback = silent,
) -> ExportReport:
    """Write the result of a finished prune run as a checkpoint, with the quality that the run measured.

    Without ``pruned``, the run is pruned again from its spec and plan and compared with it by the hash of its weights.

    Args:
        run: The prune run, opened, its folder, or its id.
        out: The folder to write, or the `Output` that reserves it.
        overwrite: Replace the checkpoint that is there. Default: no.
        verify: Load the result in a fresh process and compare logits. Default: yes.
        spec: In place of the arguments before it.
        pruned: The run's result, if it is still in memory.
        model: The dense model, if it is still in memory.
        progress: Called after every unit of work.

    Raises:
        RunProblem: not a finished prune run.
        InvalidInput: a spec together with other arguments; ``out`` exists or can't be written.
        OperationFailed: pruning again gave other weights, or the written folder does not verify.
    """
    from .checkpoint import export_checkpoint

    fields = {"run": run, "out": out, "overwrite": overwrite, "verify": verify}
    if spec is not None:
        asked_spec(ExportSpec.build, None, spec, fields)
        if spec.format != "checkpoint":
            raise InvalidInput(f"export_run writes checkpoints, not {spec.format}; use `sap.export_gguf`.")
        run, out, overwrite, verify = spec.run, spec.out, spec.overwrite, spec.verify
    elif run is None or out is None:
        raise InvalidInput("export_run needs run and out, or a spec.")
    with checkpoint_output(out, overwrite=bool(overwrite)) as output:
        run = open_prune_run(run)
        if pruned is None:
            _check_room(run, output)
            pruned = prune_again(run, model, progress)
        quality = {key: value for key, value in run.result.items() if key not in ("plan", "report")}
        return export_checkpoint(pruned, output, verify=verify is not False, quality=quality or None, progress=progress)


def export_to_gguf(spec: ExportSpec, progress: ProgressCallback = silent) -> GgufReport:
    """Write a model, or the result of a finished prune run, as a GGUF file.

    Raises:
        RunProblem: neither a model on this machine nor a finished prune run.
        InvalidInput, OperationFailed: as `export_gguf`, and as `export_run`.
    """
    from ..models.loading import load_model
    from .gguf import check_gguf, export_gguf

    check_gguf(spec.out, spec.precision)
    is_model = spec.run.startswith("demo:") or is_file(Path(spec.run).expanduser() / "config.json")
    model = load_model(spec.run) if is_model else prune_again(open_prune_run(spec.run), progress=progress).model
    return export_gguf(model, spec.out, precision=spec.precision, overwrite=spec.overwrite, progress=progress)


def _check_room(run: Run, output: Output) -> None:
    """Raise InvalidInput where the weights would not fit the disk, before the model is pruned again."""
    from ..models.inspection import inspect_model
    from .checkpoint import SPARE_BYTES
    from .target import check_checkpoint_output

    spec: Any = parse_spec(run.spec)
    info = inspect_model(spec.model, **spec.inspecting)
    kept = (run.result.get("report") or {}).get("parameters")
    share = kept / info.parameters if isinstance(kept, int | float) else 1.0
    check_checkpoint_output(output, info.path, int(share * info.bytes) + SPARE_BYTES)


def open_prune_run(run: Run | str | os.PathLike) -> Run:
    """Open a finished prune run.

    Raises:
        RunProblem: it is not one.
    """
    opened = run if isinstance(run, Run) else open_run(run)
    if opened.kind != "prune" or opened.state != "finished":
        raise RunProblem(f"Run {opened.id} is a {opened.state} {opened.kind} run; give a finished prune run.")
    return opened


def prune_again(run: Run, model: LoadedModel | None = None, progress: ProgressCallback = silent) -> Pruned:
    """Repeat the pruning of a run and return the same weights.

    Raises:
        OperationFailed: they differ from those the run measured.
    """
    from ..pruning.api import prune
    from ..pruning.planning.plan import PruningPlan

    spec: Any = parse_spec(run.spec)
    plan = PruningPlan.from_dict(run.result["plan"])
    pruned = prune(model if model is not None else spec.model, spec=spec, plan=plan, progress=progress)
    if pruned.report["weights_sha256"] != run.result["report"]["weights_sha256"]:
        raise OperationFailed(
            f"Pruning {spec.model} again gave other weights than run {run.id} measured: the model, the calibration "
            "file, a library or the machine is not the same. Prune again, and export that run."
        )
    return pruned
