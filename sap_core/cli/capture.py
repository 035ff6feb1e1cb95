"""``sap capture``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import Cancelled, InvalidInput
from ..samplers.prompts import PRESETS, read_prompts
from ..samplers.prompts import preset as ready
from ..specs import CaptureSpec
from ..specs.options import help_of
from . import options as opt
from .console import emit, work

if TYPE_CHECKING:
    from ..runs.reading import Run


def register(app: typer.Typer) -> None:
    app.command()(capture)


@opt.from_specs(CaptureSpec, without=("prompts",))
def capture(
    fields: dict[str, Any],
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", "-p", help=help_of(CaptureSpec, "prompts"), show_default='""'),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(help="FILE.txt or FILE.jsonl with one prompt per line, as one batch.", show_default=False),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help=f"A ready set of prompts: {', '.join(PRESETS)}.", show_default=False)
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="Folder or address (s3://...) of the run; must not exist.", show_default="a new one in ./runs"
        ),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            help="Each prompt as a run of its own below --out, several at once: local (processes here) or ray. The "
            "same command goes on where it was stopped.",
            show_default="one run, all prompts in one batch",
        ),
    ] = None,
    workers: opt.Workers = None,
    address: opt.Address = None,
    gpus_per_worker: opt.GpusPerWorker = None,
    cpus_per_worker: opt.CpusPerWorker = None,
    as_json: opt.Json = False,
) -> None:
    """Generate from a prompt and record attention at every step, layer and head."""
    from ..runs.paths import check_new_run, new_run_path

    spec = CaptureSpec.build(**fields, **opt.given(prompts=_prompts(prompt, prompts, preset)))
    options = opt.given(
        workers=workers, address=address, gpus_per_worker=gpus_per_worker, cpus_per_worker=cpus_per_worker
    )
    if executor is not None:
        return _each(spec, out, executor, options, as_json)
    if options:
        names = ", ".join(f"--{option.replace('_', '-')}" for option in options)
        raise InvalidInput(f"{names} belongs to --executor, which captures each prompt as a run of its own; add it.")
    folder = check_new_run(out if out is not None else new_run_path("capture"))
    with work("capture") as progress:
        from ..capturing.api import capture as record
        from ..trajectory.accuracy import sampling_note

        if spec.chat:
            _show_what_is_sent(spec)

        try:
            run = record(spec.model, spec=spec, out=folder, progress=progress)
        except Cancelled:
            kept = f"; what was captured until then is in {folder}" if folder.exists() else ""
            raise Cancelled(f"Cancelled{kept}.") from None
        found = run.trajectory.sizes
        sizes = {name: found[name] for name in ("step", "layer", "head", "position")}
        estimate = sampling_note(run.trajectory)
    document = _told(run) | {"sizes": sizes, "result": run.result}

    def show():
        yield run.text
        yield ""
        yield f"{', '.join(f'{count} {name}s' for name, count in sizes.items())} in {run.seconds:.1f} s"
        if estimate:
            yield estimate
        yield f"Run: {run.path}"

    emit(document, as_json, show)


def _each(spec: CaptureSpec, out: str | None, executor: str, workers: dict[str, Any], as_json: bool) -> None:
    """Every prompt as a run of its own."""
    with work("capture") as progress:
        from ..sweeps.captures import capture_each

        if spec.chat:
            _show_what_is_sent(spec)
        runs = capture_each(spec.model, spec=spec, out=out, executor=executor, progress=progress, **workers)
    emit([_told(run) for run in runs], as_json, lambda: (f"{run.path}  {run.text}" for run in runs))


def _told(run: Run) -> dict[str, Any]:
    """Return what --json says of every run."""
    return {"run": str(run.path), "state": run.state, "seconds": run.seconds, "text": run.text}


def _show_what_is_sent(spec: CaptureSpec) -> None:
    """Each prompt inside the model's chat template, on standard error, before the model is loaded."""
    from ..models.chat import chat_text
    from ..models.inspection import inspect_model

    info = inspect_model(spec.model, **spec.inspecting)
    for prompt in spec.prompts:
        print(chat_text(info, prompt))


def _prompts(texts: list[str] | None, file: str | None, name: str | None) -> tuple[str, ...] | None:
    """Return the prompts, from one of the three places they can come from."""
    if sum(place is not None for place in (texts or None, file, name)) > 1:
        raise InvalidInput("--prompt, --prompts and --preset are three ways to say the same; give one of them.")
    if file is not None:
        return read_prompts(file)
    return ready(name) if name is not None else tuple(texts) if texts else None
