"""``sap prune``, ``sap export``, ``sap verify``: from a model to a checkpoint that loads elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from ..choices.allocations import looks_at_texts
from ..errors import InvalidInput
from ..specs import ExportSpec, ProgressivePruneSpec, PruneSpec, SearchPruneSpec
from ..specs.base import OVERWRITE, VERIFY
from ..specs.options import help_of
from . import options as opt
from .console import emit, work
from .prune_text import (
    decision_lines,
    export_lines,
    gguf_lines,
    plan_lines,
    quality_lines,
    search_lines,
)


def register(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    app.command()(prune)
    app.command()(export)
    app.command()(verify)


@opt.from_specs(PruneSpec, ProgressivePruneSpec, SearchPruneSpec, optional=("method",))
def prune(
    fields: dict[str, Any],
    out: Annotated[str | None, typer.Option(help=help_of(ExportSpec, "out"), show_default=False)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help=OVERWRITE)] = False,
    verify: Annotated[bool, typer.Option(help=VERIFY)] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and write nothing.")] = False,
    streamed: Annotated[
        bool,
        typer.Option(
            "--streamed", help="From file to file, one block in memory at a time; interrupted, it goes on from there."
        ),
    ] = False,
    as_json: opt.Json = False,
) -> None:
    """Prune a model, measure what it cost, and write a checkpoint that stock transformers loads."""
    from ..pruning.planning.defaults import prune_spec_of

    spec = prune_spec_of()(**fields)
    if out is None and not dry_run:
        raise InvalidInput("No place to write to: give --out DIR, or --dry-run to see the plan only.")
    check_calibration(spec)
    if streamed:
        from .streamed import prune_streamed

        return prune_streamed(spec, out, overwrite=overwrite, verify=verify, dry_run=dry_run, as_json=as_json)
    with work("prune") as progress, _reserved(out, overwrite) as output:
        from ..pruning.api import plan_pruning
        from ..pruning.api import prune as apply

        if dry_run:
            plan = plan_pruning(spec.model, spec=spec, progress=progress)
        else:
            from ..evaluation.quick import quality_texts, quick_compare
            from ..export.checkpoint import check_room, export_checkpoint
            from ..pruning.strategies.preparation import loaded

            dense = loaded(spec.model, spec)
            check_room(dense, output)
            quality_texts(dense, spec, spec.seed)
            pruned = apply(dense, spec=spec, progress=progress)
            plan = pruned.plan
            quality = quick_compare(dense, pruned.model, seed=spec.seed, spec=spec, progress=progress)
            report = export_checkpoint(pruned, output, verify=verify, quality=quality, progress=progress)
    document: dict[str, Any] = {"plan": plan.to_dict()}
    if not dry_run:
        document |= {"out": str(report.folder), "report": pruned.report, "quality": quality, "export": report.to_dict()}

    def show() -> Iterator[str]:
        yield from plan_lines(plan)
        if dry_run:
            yield "Dry run: nothing was written."
            return
        yield ""
        yield from decision_lines(pruned.report)
        yield from search_lines(pruned.report)
        if quality:
            yield from quality_lines(quality)
        else:
            yield f"Quality not measured: {spec.model} denoises random tokens, of which no likelihood is known here."
        yield ""
        yield from export_lines(report)

    emit(document, as_json, show)


@opt.from_specs(ExportSpec, arguments=("run",))
def export(fields: dict[str, Any], as_json: opt.Json = False) -> None:
    """Write the result of a prune run as a checkpoint that stock transformers loads, or a model as a GGUF file."""
    from ..runs.reading import open_run

    spec = ExportSpec.build(**fields)
    if spec.format == "gguf":
        with work("export") as progress:
            from ..export.from_run import export_to_gguf

            written = export_to_gguf(spec, progress)
        return emit(written.to_dict(), as_json, lambda: gguf_lines(written))
    opened = open_run(spec.run)
    with work("export") as progress:
        from ..export.from_run import export_run

        report = export_run(opened, spec.out, overwrite=spec.overwrite, verify=spec.verify, progress=progress)
    emit({"run": str(opened.path), **report.to_dict()}, as_json, lambda: export_lines(report))


def _reserved(out: str | None, overwrite: bool) -> Any:
    """Return the result's folder, reserved before any work; None for a dry run without --out."""
    if out is None:
        return contextlib.nullcontext()
    from ..export.target import checkpoint_output

    return checkpoint_output(out, overwrite=overwrite)


def verify(
    folder: Annotated[str, typer.Argument(help="A folder written by `sap prune` or `sap export`.", show_default=False)],
    original_code: Annotated[
        bool,
        typer.Option("--original-code", help="Compute them with the folder's own Python code, as its publisher does."),
    ] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="With --original-code: run that code; read it first.")
    ] = False,
    as_json: opt.Json = False,
) -> None:
    """Load an exported checkpoint in a fresh process and compare its logits with those it was exported with."""
    with work("verify", lambda: "nothing was changed"):
        from ..export.verify import verify_checkpoint

        found = verify_checkpoint(folder, original_code=original_code, trust_remote_code=trust_remote_code)
    text = "loads and gives the logits it was exported with" if found["equal"] else "loads, but with OTHER logits"
    emit(found, as_json, lambda: [f"{folder} {text} (largest difference {found['max_difference']:.3g})."])
    if not found["equal"]:
        raise typer.Exit(1)


def check_calibration(spec: Any) -> None:
    """Check the calibration texts, and token ids against the model's headers, in a dry run too.

    Raises:
        InvalidInput: missing, empty or unreadable; of token ids: of the wrong dtype or shape, ids outside the
            vocabulary, rows beyond the model's positions.
    """
    from ..texts.source import read_ids, read_texts

    asked = ("allocation", "uniform"), ("compensate", "none"), ("quantize", "none"), ("quantize_by", "solver")
    if not looks_at_texts(spec.method, *(getattr(spec, name, default) for name, default in asked)):
        return
    source = spec.calibration_source
    source.check()
    if not source.is_ids:
        if not source.is_demo and not source.is_dataset:
            read_texts(source)
        return
    from ..models.inspection import inspect_model

    info = inspect_model(spec.model, **spec.inspecting)
    read_ids(source, info.vocab_size, info.max_length)
