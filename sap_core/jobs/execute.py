"""Execute a spec into a finished run folder: what the worker does for each kind of job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InvalidInput, OperationFailed, UnknownOption
from ..export.target import checkpoint_output
from ..progress import Progress, ProgressCallback
from ..resources import is_out_of_memory
from ..runs.manifest import SPEC
from ..runs.publish import made_here
from ..runs.reading import open_run
from ..runs.store import create_run
from ..specs import (
    AblateHeadsSpec,
    AblateSinksSpec,
    AttentionMapSpec,
    CaptureSpec,
    ConventionsSpec,
    ElasticSpec,
    EvaluateSpec,
    ExportSpec,
    HealSpec,
    ProgressivePruneSpec,
    PruneCheckpointSpec,
    PruneOptions,
    PruneSpec,
    PushSpec,
    SearchPruneSpec,
    Spec,
    SweepSpec,
    VerifySpec,
    parse_spec,
)
from ..storage import storage_of
from .cache import ModelCache


def execute(spec: Spec, out: Path, models: ModelCache, progress: ProgressCallback) -> Path:
    """Do what ``spec`` asks, with the run folder ``out``, and return the path of the run.

    A refused input leaves no folder. Cancelled and failed work leaves a run with that state.

    Raises:
        InvalidInput: the spec can't be carried out as asked.
        OperationFailed: it began and could not be ended.
        Cancelled: ``progress`` asked to stop.
    """
    if type(spec) not in KINDS:
        raise UnknownOption("kind of job", spec.kind, [kind.model_fields["kind"].default for kind in KINDS])
    try:
        # A capture streams to an address; a sweep refuses one.
        if storage_of(out).remote and not isinstance(spec, CaptureSpec | SweepSpec):
            with made_here(out) as folder:
                KINDS[type(spec)](spec, folder, models, progress)
            return out
        return KINDS[type(spec)](spec, out, models, progress)
    except Exception as error:
        if is_out_of_memory(error):
            models.clear()
        raise


def _capture(spec: CaptureSpec, out: Path, models: ModelCache, progress: ProgressCallback) -> Path:
    from ..capturing.api import capture

    target: dict[str, Any] = {"resume": out} if storage_of(out).stamp(out / SPEC)[1] else {"out": out}
    return capture(_model(spec, models, progress), spec=spec, progress=progress, **target).path


def _prune(spec: PruneOptions, out: Path, models: ModelCache, progress: ProgressCallback) -> Path:
    """Store spec, plan, report, and dense and pruned side by side; not the weights, which follow from them."""
    from ..evaluation.quick import quality_texts, quick_compare
    from ..models.inspection import inspect_model
    from ..pruning.api import plan_pruning, prune
    from ..pruning.planning.memory_check import check_room
    from .dense_vs_pruned import denoise_both, measure_both

    info = inspect_model(spec.model, **spec.inspecting)
    check_room(info, spec.dtype, spec.device, held=models.held)
    dense = _model(spec, models, progress)
    quality_texts(dense, spec, spec.seed)
    with create_run("prune", spec, out=out) as run:
        plan = plan_pruning(dense, spec=spec, progress=progress)
        run.write_json("plan.json", plan.to_dict())
        pruned = prune(dense, spec=spec, plan=plan, progress=progress)
        result: dict[str, Any] = {"plan": pruned.plan.to_dict(), "report": pruned.report}
        models.keep_pruned(run.path, pruned)
        result |= quick_compare(dense, pruned.model, seed=spec.seed, spec=spec, progress=progress)
        if dense.tokenizer is not None and "prompt" in result:
            result["cost"] = measure_both(dense, pruned.model, progress)
            result["denoising"] = denoise_both(dense, pruned.model, run.path, result["prompt"], spec.seed, progress)
        run.finish(result)
    return run.path


def _prune_checkpoint(spec: PruneCheckpointSpec, out: Path, models: ModelCache, progress: ProgressCallback) -> Path:
    """Write the weights to the spec's own folder; the run keeps the plan and the report."""
    from ..export.streamed import prune_checkpoint

    models.clear()
    with create_run("prune_checkpoint", spec, out=out) as run:
        done = prune_checkpoint(spec=spec, progress=progress)
        run.finish({"plan": done.plan.to_dict(), "report": done.report, "export": done.export.to_dict()})
    return run.path


def _evaluate(spec: EvaluateSpec, out: Path, models: ModelCache, progress: ProgressCallback) -> Path:
    from ..evaluation.api import evaluate

    model = _model(spec, models, progress)
    baseline = models.get(spec.baseline, **spec.loading | {"keep": None, "adapter": None}) if spec.baseline else None
    with create_run("evaluate", spec, out=out) as run:
        run.finish(evaluate(model, baseline, spec=spec, progress=progress))
    return run.path


def _export(spec: ExportSpec, out: Path, models: ModelCache, progress: ProgressCallback) -> Path:
    """Export the weights from the worker's memory; if they are no longer there, prune again from the run."""
    from ..export.from_run import export_run, export_to_gguf, open_prune_run, prune_again

    if spec.format == "gguf":
        with create_run("export", spec, out=out) as run:
            run.finish(export_to_gguf(spec, progress).to_dict())
        return run.path
    source = open_prune_run(spec.run)
    with checkpoint_output(spec.out, overwrite=spec.overwrite) as output, create_run("export", spec, out=out) as run:
        pruned = models.pruned(source.path)
        if pruned is None:
            pruned = prune_again(source, _model(parse_spec(source.spec), models, progress), progress)
            models.keep_pruned(source.path, pruned)
        report = export_run(source, output, verify=spec.verify, pruned=pruned, progress=progress)
        run.finish(report.to_dict())
    return run.path


def _verify(spec: VerifySpec, out: Path, models: ModelCache, progress: ProgressCallback) -> Path:
    from ..export.verify import verify_checkpoint

    progress(Progress("verify", 0, 1, "Loading it in a fresh process"))
    found = verify_checkpoint(spec.folder, original_code=spec.original_code, trust_remote_code=spec.trust_remote_code)
    with create_run("verify", spec, out=out) as run:
        run.finish(found)
    return run.path


def _heal(spec: HealSpec, out: Path, models: ModelCache, progress: ProgressCallback) -> Path:
    """Write the weights to the spec's own folder; the run keeps the report and the quality."""
    from ..export.healed import heal

    if spec.out is None:
        raise InvalidInput("No place to write to; give the folder of the result as out.")
    pruned = _model(spec, models, progress)
    teacher = models.get(spec.teacher, **spec.loading | {"adapter": None})
    with create_run("heal", spec, out=out) as run:
        done = heal(pruned, teacher, spec=spec, progress=progress)
        run.finish({"report": done.report, "quality": done.quality, "export": done.export.to_dict()})
    return run.path


def _push(spec: PushSpec, out: Path, models: ModelCache, progress: ProgressCallback) -> Path:
    from ..export.push import check_push, push_checkpoint

    check_push(spec)
    with create_run("push", spec, out=out) as run:
        run.finish(push_checkpoint(spec=spec, progress=progress).to_dict())
    return run.path


def _elastic(spec: ElasticSpec, out: Path, models: ModelCache, progress: ProgressCallback) -> Path:
    from ..export.elastic import export_elastic

    model = _model(spec, models, progress)
    with create_run("elastic", spec, out=out) as run:
        run.finish(export_elastic(model, spec=spec, progress=progress).to_dict())
    return run.path


def _sweep(spec: SweepSpec, out: Path, models: ModelCache, progress: ProgressCallback) -> Path:
    """Run the sweep in a separate process, which needs the memory that the cached models hold."""
    from ..sweeps import sweep

    models.clear()
    done = sweep(spec, out=out, progress=progress)
    if done.failed:
        cell, error = next(iter(done.failed.items()))
        raise OperationFailed(f"{len(done.failed)} cells of the sweep failed, the rest is in {out}; {cell}: {error}")
    return done.path


def _attention_map(spec: AttentionMapSpec, out: Path, models: ModelCache, progress: ProgressCallback) -> Path:
    """Store the map as map.npy, float32 (query, key), so that showing it again needs no model."""
    import numpy as np

    from ..capturing.attention_map import attention_map

    source = open_run(spec.run, unfinished=True)
    model = _model(parse_spec(source.spec), models, progress)
    found = attention_map(model, spec=spec)
    with create_run("attention_map", spec, out=out) as run:
        np.save(run.path / "map.npy", found)
        run.finish({"positions": len(found)})
    return run.path


def _ablate(spec: AblateSinksSpec | AblateHeadsSpec, out: Path, models: ModelCache, progress: ProgressCallback) -> Path:
    """Measure an intervention; a folder that holds an unfinished one is gone on with."""
    from ..interventions.heads import ablate_heads
    from ..interventions.sinks import ablate_sinks

    model = _model(spec, models, progress)
    if isinstance(spec, AblateSinksSpec):
        return ablate_sinks(model, spec=spec, out=out, progress=progress).path
    return ablate_heads(model, spec=spec, out=out, progress=progress).path


def _conventions(spec: ConventionsSpec, out: Path, models: ModelCache, progress: ProgressCallback) -> Path:
    """Load the model once causal and once bidirectional, and compare; neither is cached."""
    from ..evaluation.conventions import check_conventions

    models.clear()
    report = check_conventions(spec.model, text=spec.text, progress=progress, **spec.loading)
    with create_run("conventions", spec, out=out) as run:
        run.finish(report.to_dict())
    return run.path


def _model(spec: Any, models: ModelCache, progress: ProgressCallback) -> Any:
    progress(Progress("load", 0, 1, "Loading the model"))
    return models.get(spec.model, **spec.loading)


KINDS: dict[type[Spec], Callable[[Any, Path, ModelCache, ProgressCallback], Path]] = {
    CaptureSpec: _capture,
    PruneSpec: _prune,
    ProgressivePruneSpec: _prune,
    SearchPruneSpec: _prune,
    PruneCheckpointSpec: _prune_checkpoint,
    EvaluateSpec: _evaluate,
    ExportSpec: _export,
    VerifySpec: _verify,
    AttentionMapSpec: _attention_map,
    SweepSpec: _sweep,
    ElasticSpec: _elastic,
    HealSpec: _heal,
    PushSpec: _push,
    ConventionsSpec: _conventions,
    AblateSinksSpec: _ablate,
    AblateHeadsSpec: _ablate,
}
