"""`export_run`: the checkpoint of a prune run, whose folder holds the spec and the plan but not the weights."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..errors import OperationFailed, RunProblem
from ..progress import ProgressCallback, silent
from ..runs.reading import Run, open_run
from ..specs import parse_spec
from .target import checkpoint_output

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..pruning.strategies.report import Pruned
    from ..storage.output import Output
    from .checkpoint import ExportReport


def export_run(
    run: Run | str | os.PathLike,
    out: str | os.PathLike | Output,
    *,
    overwrite: bool = False,
    verify: bool = True,
    pruned: Pruned | None = None,
    model: LoadedModel | None = None,
    progress: ProgressCallback = silent,
) -> ExportReport:
    """Write what a finished prune run made as a checkpoint, with the quality that the run measured.

    ``pruned``: the run's result if it is still at hand. Otherwise it is pruned again from the run's spec and plan, on
    ``model`` if given, and compared with the run by the hash of its weights.

    Raises:
        RunProblem: not a finished prune run.
        InvalidInput: ``out`` exists or can't be written.
        OperationFailed: pruning again gave other weights, or the written folder does not verify.
    """
    from .checkpoint import export_checkpoint

    with checkpoint_output(out, overwrite=overwrite) as output:
        run = open_prune_run(run)
        if pruned is None:
            pruned = prune_again(run, model, progress)
        quality = {key: value for key, value in run.result.items() if key not in ("plan", "report")}
        return export_checkpoint(pruned, output, verify=verify, quality=quality or None, progress=progress)


def open_prune_run(run: Run | str | os.PathLike) -> Run:
    """Return the run, if it is a finished prune run. Raises RunProblem otherwise."""
    opened = run if isinstance(run, Run) else open_run(run)
    if opened.kind != "prune" or opened.state != "finished":
        raise RunProblem(f"Run {opened.id} is a {opened.state} {opened.kind} run; give a finished prune run.")
    return opened


def prune_again(run: Run, model: LoadedModel | None = None, progress: ProgressCallback = silent) -> Pruned:
    """Return the same pruned weights a second time. Raises OperationFailed when they differ from those the run
    measured."""
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
