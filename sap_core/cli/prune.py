"""``sap prune``, ``sap export``, ``sap verify``: from a model to a checkpoint that loads elsewhere."""

from __future__ import annotations

import contextlib
import re
from typing import Annotated, Any

import typer

from ..choices.methods import METHODS
from ..choices.strategies import PRESETS
from ..errors import InvalidInput
from . import options as opt
from .console import emit, work
from .prune_text import (
    decision_lines,
    export_lines,
    plan_lines,
    quality_lines,
    search_lines,
)

# Written out because their table needs numpy, which --help should not wait for; a test compares.
ALLOCATIONS = "uniform, owl, ramp, ramp_reverse, sensitivity, instability, global, table"


def register(app: typer.Typer) -> None:
    app.command()(prune)
    app.command()(export)
    app.command()(verify)


def prune(
    model: opt.Model,
    method: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(METHODS)}.", show_default="what measured best")
    ] = None,
    sparsity: Annotated[
        float | None, typer.Option(help="Share of weights (method heads: of heads) to zero.", show_default="0.5")
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            help="unstructured; 2:4 or 4:8 (zeroed of consecutive); heads, channels or layers.",
            show_default="unstructured",
        ),
    ] = None,
    compare: Annotated[
        str | None, typer.Option(help="Weights compete within their row or their matrix.", show_default="auto")
    ] = None,
    order: Annotated[
        str | None, typer.Option(help="sequential (block by block) or one_shot.", show_default="auto")
    ] = None,
    allocation: Annotated[
        str | None,
        typer.Option(
            help=f"How layers share the sparsity: {ALLOCATIONS}.", show_default="uniform; without --method owl"
        ),
    ] = None,
    allocation_width: Annotated[
        float | None, typer.Option(help="Most that a layer's share leaves the mean.", show_default="0.08")
    ] = None,
    allocation_table: Annotated[
        list[str] | None, typer.Option(help="Allocation table: one share per layer, with commas.", show_default=False)
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            help="Progressive: layer by layer, as hard as this rise of the loss allows, such as 0.05.",
            show_default=False,
        ),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(help="Progressive: FILE.txt to measure the loss on.", show_default="held-out demo stories"),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help=f"Search: a point of the measured curve, one of {', '.join(PRESETS)}.", show_default=False),
    ] = None,
    target_speedup: Annotated[
        float | None,
        typer.Option(help="Search: at least so many times as fast on this machine, such as 1.3.", show_default=False),
    ] = None,
    quality_drop: Annotated[
        float | None,
        typer.Option(help="Search: largest rise of the loss, as a share.", show_default="0.05 with --target-speedup"),
    ] = None,
    duplicates: Annotated[
        str | None,
        typer.Option(
            help="Heads that attend alike: keep_one never removes the last of a group; ignore.", show_default="keep_one"
        ),
    ] = None,
    compensate: Annotated[
        str | None,
        typer.Option(
            help="Patterns heads, channels: how what stays makes up for what goes: none, bias (what it gave on "
            "average) or weights (moved by least squares).",
            show_default="none; without --method weights",
        ),
    ] = None,
    calibration: opt.Calibration = None,
    samples: opt.Samples = None,
    calibration_length: opt.CalibrationLength = None,
    calibration_subset: opt.CalibrationSubset = None,
    calibration_split: opt.CalibrationSplit = None,
    calibration_column: opt.CalibrationColumn = None,
    noise_levels: opt.NoiseLevels = None,
    heads: Annotated[
        str | None, typer.Option(help="Method heads: exactly these, as LAYER.HEAD,LAYER.HEAD.", show_default=False)
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            help="The capture run that ranks the heads (method or pattern heads, allocation instability).",
            show_default=False,
        ),
    ] = None,
    seed: opt.Seed = None,
    out: Annotated[
        str | None, typer.Option(help="Folder of the checkpoint; must not exist.", show_default=False)
    ] = None,
    overwrite: opt.Overwrite = False,
    verify: opt.Verify = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and write nothing.")] = False,
    streamed: Annotated[
        bool,
        typer.Option(
            "--streamed", help="From file to file, one block in memory at a time; interrupted, it goes on from there."
        ),
    ] = False,
    name: opt.Name = None,
    dtype: opt.Dtype = None,
    device: opt.Device = None,
    trust_remote_code: opt.RemoteCode = None,
    mask_token_id: opt.MaskToken = None,
    causal: opt.Causal = None,
    shift_logits: opt.ShiftLogits = None,
    block_size: opt.BlockSize = None,
    as_json: opt.Json = False,
) -> None:
    """Prune a model, measure what it cost, and write a checkpoint that stock transformers loads."""
    from ..pruning.planning.defaults import prune_spec_of

    fields = opt.given(
        method=method,
        sparsity=sparsity,
        pattern=pattern,
        calibration=opt.calibration_source(calibration),
        samples=samples,
        calibration_length=calibration_length,
        calibration_subset=calibration_subset,
        calibration_split=calibration_split,
        calibration_column=calibration_column,
        noise_levels=noise_levels,
        compare=compare,
        order=order,
        allocation=allocation,
        allocation_width=allocation_width,
        allocation_table=parse_shares(allocation_table),
        budget=budget,
        validation=opt.absolute(validation),
        preset=preset,
        target_speedup=target_speedup,
        quality_drop=quality_drop,
        duplicates=duplicates,
        compensate=compensate,
        heads=parse_heads(heads),
        run=_run_path(run),
        seed=seed,
        name=name,
        dtype=dtype,
        device=device,
        trust_remote_code=trust_remote_code,
        mask_token_id=mask_token_id,
        causal=causal,
        shift_logits=shift_logits,
        block_size=block_size,
    )
    spec = prune_spec_of()(model=model, **fields)
    if out is None and not dry_run:
        raise InvalidInput("No place to write to: give --out DIR, or --dry-run to see the plan only.")
    check_token_file(spec)
    if streamed:
        from .streamed import prune_streamed

        return prune_streamed(spec, out, overwrite=overwrite, verify=verify, dry_run=dry_run, as_json=as_json)
    with work("prune") as progress, _reserved(out, overwrite) as output:
        from ..pruning.api import plan_pruning
        from ..pruning.api import prune as apply

        if dry_run:
            plan = plan_pruning(spec.model, spec=spec, progress=progress)
        else:
            from ..evaluation.quick import quick_compare
            from ..export.checkpoint import check_room, export_checkpoint
            from ..pruning.strategies.preparation import loaded

            dense = loaded(spec.model, spec)
            check_room(dense, output)
            pruned = apply(dense, spec=spec, progress=progress)
            plan = pruned.plan
            quality = None
            if dense.tokenizer is not None:
                quality = quick_compare(dense, pruned.model, seed=spec.seed, progress=progress)
            report = export_checkpoint(pruned, output, verify=verify, quality=quality, progress=progress)
    document: dict[str, Any] = {"plan": plan.to_dict()}
    if not dry_run:
        document |= {"out": str(report.folder), "report": pruned.report, "quality": quality, "export": report.to_dict()}

    def show():
        yield from plan_lines(plan)
        if dry_run:
            yield "Dry run: nothing was written."
            return
        yield ""
        yield from decision_lines(pruned.report)
        yield from search_lines(pruned.report)
        if quality:
            yield from quality_lines(quality)
            yield ""
        yield from export_lines(report)

    emit(document, as_json, show)


def export(
    run: Annotated[str, typer.Argument(help="A finished prune run: its folder, or its id.", show_default=False)],
    out: Annotated[str, typer.Option(help="Folder of the checkpoint; must not exist.", show_default=False)],
    overwrite: opt.Overwrite = False,
    verify: opt.Verify = True,
    as_json: opt.Json = False,
) -> None:
    """Write what a prune run made as a checkpoint that stock transformers loads."""
    from ..runs.reading import open_run

    opened = open_run(run)
    with work("export") as progress:
        from ..export.from_run import export_run

        report = export_run(opened, out, overwrite=overwrite, verify=verify, progress=progress)
    emit({"run": str(opened.path), **report.to_dict()}, as_json, lambda: export_lines(report))


def _reserved(out: str | None, overwrite: bool) -> Any:
    """The folder of the result, reserved before any work; None with a dry run that names none."""
    if out is None:
        return contextlib.nullcontext()
    from ..export.target import checkpoint_output

    return checkpoint_output(out, overwrite=overwrite)


def verify(
    folder: Annotated[str, typer.Argument(help="A folder written by `sap prune` or `sap export`.", show_default=False)],
    as_json: opt.Json = False,
) -> None:
    """Load an exported checkpoint in a fresh process and compare its logits with those it was exported with."""
    with work("verify"):
        from ..export.verify import verify_checkpoint

        found = verify_checkpoint(folder)
    words = "loads and gives the logits it was exported with" if found["equal"] else "loads, but with OTHER logits"
    emit(found, as_json, lambda: [f"{folder} {words} (largest difference {found['max_difference']:.3g})."])
    if not found["equal"]:
        raise typer.Exit(1)


def check_token_file(spec: Any) -> None:
    """A calibration file of token ids against the model's headers, so that not even a dry run takes a wrong one.

    Raises:
        InvalidInput: empty, of the wrong dtype or shape, ids outside the vocabulary, rows beyond the model's positions.
    """
    if not METHODS[spec.method].needs_calibration or not spec.calibration.endswith(".npy"):
        return
    from ..models.inspection import inspect_model
    from ..pruning.scoring.calibration import read_calibration

    info = inspect_model(spec.model, **spec.inspecting)
    sizes = {"vocab_size": info.vocab_size, "max_length": info.max_length}
    settings = {"samples": spec.samples, "length": spec.calibration_length, "seed": spec.seed}
    read_calibration(spec.calibration, **settings, **sizes, encode=None, fill_id=None)


def parse_heads(text: str | None) -> tuple[tuple[int, int], ...] | None:
    """``"0.1,2.3"`` as ((0, 1), (2, 3)).

    Raises:
        InvalidInput: anything else.
    """
    if text is None:
        return None
    pairs = [re.fullmatch(r"\s*(\d+)\.(\d+)\s*", part) for part in text.split(",")]
    if not all(pairs):
        raise InvalidInput(f"--heads is '{text}'; expected LAYER.HEAD pairs such as 0.1,2.3.")
    return tuple((int(pair[1]), int(pair[2])) for pair in pairs)


def parse_shares(parts: list[str] | None) -> tuple[float, ...] | None:
    """``["0.5,0.4", "0.6"]`` as (0.5, 0.4, 0.6). Raises InvalidInput."""
    if not parts:
        return None
    try:
        return tuple(float(number) for part in parts for number in part.split(","))
    except ValueError:
        raise InvalidInput(f"--allocation-table is '{','.join(parts)}'; expected numbers such as 0.4,0.5.") from None


def _run_path(run: str | None) -> str | None:
    if run is None:
        return None
    from ..runs.reading import open_run

    return str(open_run(run).path)
