"""`prune_checkpoint`: from a checkpoint to a pruned checkpoint, for models that do not fit the memory."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..choices.methods import METHODS
from ..errors import InvalidInput, OperationFailed
from ..models.code_files import code_files
from ..models.headers import SINGLE
from ..models.memory import available_memory
from ..models.saving import copy_small_files, write_index
from ..progress import Progress, ProgressCallback, silent
from ..pruning.planning.defaults import with_method
from ..pruning.planning.memory_check import check_streamed
from ..pruning.scoring.inputs import Inputs
from ..pruning.strategies.preparation import calibration_of, check_method, needs_texts
from ..pruning.strategies.report import report_from
from ..pruning.streamed.allocator import release_freed_memory
from ..pruning.streamed.engine import (
    disk_needed,
    prune_blocks,
    streamed_plan,
    written_weights,
)
from ..pruning.streamed.streamed_model import StreamedModel, open_streamed
from ..pruning.streamed.tensors import StoredWeights, WeightsWriter
from ..pruning.streamed.workspace import Workspace, workspace
from ..runs.manifest import versions
from ..specs import PruneCheckpointSpec, PruneSpec, asked_spec, build_prune_spec
from ..storage import disk_problem
from .card import loading_code, model_card
from .checkpoint import (
    SPARE_BYTES,
    ExportReport,
    verified,
    write_manifest,
)
from .provenance import Provenance
from .target import check_checkpoint_output, checkpoint_output
from .verify import auto_class, loads_with, write_expected

if TYPE_CHECKING:
    from ..pruning.planning.plan import PruningPlan
    from ..pruning.scoring.calibration import Calibration
    from ..storage.output import Output

# Memory must exceed a checkpoint by this share for it to be loaded whole for a check.
_SLACK = 1.2


@dataclass(frozen=True)
class PrunedCheckpoint:
    """Result of `prune_checkpoint`: the folder, its plan and spec, and the reports of pruning and export."""

    folder: Path
    plan: PruningPlan
    spec: PruneSpec
    report: dict[str, Any]
    export: ExportReport


def prune_checkpoint(
    source: str | None = None,
    out: str | os.PathLike | None = None,
    *,
    spec: PruneCheckpointSpec | None = None,
    overwrite: bool | None = None,
    verify: bool | None = None,
    progress: ProgressCallback = silent,
    **fields: Any,
) -> PrunedCheckpoint:
    """Prune the checkpoint ``source`` into the folder ``out``, one block in memory at a time.

    The result is that of `prune` and `export_checkpoint`, bit for bit on one machine, for every method, pattern and
    allocation that does not need the whole model at once. Hidden states and the unfinished result are kept in a hidden
    folder beside ``out``; after any interruption, the same call continues after the last finished block. ``out``
    appears when it is complete.

    Args:
        source: demo:NAME, a folder, or a Hub id.
        out: The folder to write.
        spec: In place of all other fields.
        overwrite: Replace the model folder that is there. Default: no.
        verify: Load the whole result in a fresh process and compare logits, if there is enough memory; if there is not,
            the report's ``verification`` is None.
        progress: Called after every block.
        **fields: Those of `PruneSpec`: method, sparsity, pattern, calibration ...

    Raises:
        InvalidInput: the request can't be carried out; raised before any long work. The folder beside ``out`` belongs
            to another pruning.
        OperationFailed: the written folder gives other logits, or the disk is full.
        Cancelled: from ``progress``; finished blocks are kept.
    """
    given = {"out": None if out is None else str(out), "overwrite": overwrite, "verify": verify} | fields
    asked = asked_spec(_build, source, spec, given)
    pruning = asked.pruning
    check_streamed(pruning)
    if needs_texts(pruning):
        pruning.calibration_source.check()
    release_freed_memory()
    with checkpoint_output(asked.out, overwrite=asked.overwrite, resumable=True) as output:
        return _prune_checkpoint(pruning, output, asked.verify, progress)


def _prune_checkpoint(spec: PruneSpec, output: Output, verify: bool, progress: ProgressCallback) -> PrunedCheckpoint:
    started = time.perf_counter()
    progress(Progress("load", 0, 1, "Reading the model's headers"))
    streamed = open_streamed(spec.model, **spec.loading)
    check_method(streamed.model, METHODS[spec.method])
    check_checkpoint_output(output, streamed.model.info.path, 0)
    calibration = calibration_of(streamed.model, spec, spec.seed) if needs_texts(spec) else None
    progress(Progress("load", 0, 1, "Checking the weights and one pass through them"))
    streamed.check()
    target, aside = output.target, output.part
    writer = WeightsWriter(streamed.weights, aside / "weights", streamed.dtype)
    needed = disk_needed(streamed, Inputs.of(spec.method, spec), calibration, writer.total) + SPARE_BYTES - _used(aside)
    check_checkpoint_output(output, streamed.model.info.path, needed)
    try:
        with workspace(aside, _job(streamed, spec, calibration)) as work:
            plan = streamed_plan(streamed, spec, calibration, work, progress)
            rows = prune_blocks(streamed, spec, plan, calibration, work, writer, progress)
            _write_beside(streamed, writer, work.weights)
            sha256, size = written_weights(StoredWeights(work.weights), streamed.names)
            zeros, total = (
                sum(part) for part in zip(*((r["zeros"], r["rows"] * r["cols"]) for r in rows), strict=True)
            )
            found = {
                "sparsity": zeros / total,
                "matrices": rows,
                "parameters": streamed.model.info.parameters,
            }
            report = report_from(plan, found, calibration, sha256, time.perf_counter() - started)
            pruning = {"spec": spec.model_dump(mode="json"), "plan": plan.to_dict(), "report": report}
            export = _finish(streamed, writer, work, output, pruning, size, verify, progress)
    except OSError as error:
        problem = str(disk_problem(error, target))
        raise OperationFailed(f"{problem} Finished blocks are in {aside}, the same call goes on.") from error
    return PrunedCheckpoint(target, plan, spec, report, export)


def _build(**fields: Any) -> PruneCheckpointSpec:
    """Return the spec of fields, with the best recipe where they name no method; errors say what is supported."""
    given = with_method(fields)
    if given.get("out") is None:
        raise InvalidInput("No place to write to; give the folder of the result as out.")
    target = {name: given.pop(name) for name in ("out", "overwrite", "verify") if name in given}
    pruning = build_prune_spec(**given)
    check_streamed(pruning)
    return PruneCheckpointSpec.build(**pruning.model_dump(exclude={"kind"}), **target)


def _finish(
    streamed: StreamedModel,
    writer: WeightsWriter,
    work: Workspace,
    output: Output,
    pruning: dict[str, Any],
    size: dict[str, int],
    verify: bool,
    progress: ProgressCallback,
) -> ExportReport:
    """Write expected logits and model card, verify, write the manifest, and rename."""
    info, folder, target = streamed.model.info, work.weights, output.target
    progress(Progress("export", 0, 2, "checking what was written"))
    device = str(streamed.model.device)
    with open_streamed(str(folder), device=device, mask_token_id=info.mask_token_id).on_demand() as model:
        write_expected(model, folder)
    loader, auto = loads_with(info), auto_class(info)
    card = model_card(
        name=target.name,
        source=info.ref,
        objective=info.objective,
        loader=loader,
        auto_class=auto,
        pruning=pruning,
        quality=None,
        size=size,
        code=code_files(folder),
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    verification = None
    if verify and writer.total * _SLACK < available_memory():
        progress(Progress("export", 1, 2, "loading it in a fresh process"))
        verification = verified(folder)
    write_manifest(folder, Provenance(pruning), None, verification, loader)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    total = sum(path.stat().st_size for path in paths)
    files = tuple(path.relative_to(folder).as_posix() for path in paths)
    try:
        output.publish(folder)
    finally:
        if not folder.exists():  # published, or kept under another name
            work.remove()
    progress(Progress("export", 2, 2))
    return ExportReport(target, total, files, loader, loading_code(loader, auto, str(target)), verification)


def _write_beside(streamed: StreamedModel, writer: WeightsWriter, folder: Path) -> None:
    """Write config, tokenizer and the index of the shards as the source has them."""
    copy_small_files(streamed.model.info, str(streamed.dtype).removeprefix("torch."), folder)
    if not (folder / SINGLE).is_file():
        write_index(folder, streamed.weights.tensors, writer.total)


def _job(streamed: StreamedModel, spec: PruneSpec, calibration: Calibration | None) -> dict[str, Any]:
    """Return everything that decides the bytes of the result; an interrupted pruning continues only if it is equal."""
    files = sorted({place.path for place in streamed.weights.places.values()})
    return {
        "spec": spec.model_dump(mode="json", exclude={"name"}),
        "source": {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in files},
        "calibration": None if calibration is None else calibration.describe()["sha256"],
        "device": streamed.model.device.type,
        "versions": versions(),
    }


def _used(folder: Path) -> int:
    """Return the bytes of disk that an earlier run uses already."""
    if not folder.is_dir():
        return 0
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
