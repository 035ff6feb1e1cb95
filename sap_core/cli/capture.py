"""``sap capture``."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InvalidInput, SapError
from ..samplers.prompts import PRESETS, read_prompts
from ..samplers.prompts import preset as ready
from ..specs import CaptureSpec
from ..specs.options import help_of
from . import options as opt
from .console import emit, work

if TYPE_CHECKING:
    from ..runs.reading import Run
    from ..storage.paths import StoragePath


def register(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    app.command()(capture)


@opt.from_specs(CaptureSpec, without=("prompts",), optional=("model",))
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
    column: Annotated[
        str | None,
        typer.Option(help="Prompts FILE.jsonl: the key of the text.", show_default='"prompt", or "text"'),
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
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Go on with a capture that was stopped, in its own place and with its own settings; the result is "
            "bit for bit that of an uninterrupted one.",
            show_default=False,
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

    texts = opt.given(prompts=_prompts(prompt, prompts, preset, column))
    options = opt.given(
        workers=workers, address=address, gpus_per_worker=gpus_per_worker, cpus_per_worker=cpus_per_worker
    )
    if resume is not None:
        return _resume(resume, fields | texts, opt.given(out=out, executor=executor) | options, as_json)
    spec = CaptureSpec.build(**fields, **texts)
    if executor is not None:
        return _each(spec, out, executor, options, as_json)
    if options:
        names = ", ".join(f"--{option.replace('_', '-')}" for option in options)
        raise InvalidInput(f"{names} belongs to --executor, which captures each prompt as a run of its own; add it.")
    folder = check_new_run(out if out is not None else new_run_path("capture"))
    with work("capture", lambda: _kept(folder)) as progress:
        from ..capturing.api import capture as record

        if spec.chat:
            _show_what_is_sent(spec)
        run = record(spec.model, spec=spec, out=folder, progress=progress)
    _tell(run, as_json)


def _resume(run: str, asked: dict[str, Any], others: dict[str, Any], as_json: bool) -> None:
    """Go on with a run."""
    from ..capturing.resume import interrupted_capture

    if others:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in others)
        raise InvalidInput(f"--resume goes on with a run as it was begun; leave {names} out.")
    before = interrupted_capture(run, **asked)
    with work("capture", lambda: _kept(before.path)) as progress:
        from ..capturing.api import capture as record

        if before.kept is None:
            print("No step of it can be taken over; it is captured from its beginning, in its own place.")
        done = record(resume=before.path, progress=progress)
    _tell(done, as_json)


def _kept(run: StoragePath) -> str:
    """Return what is kept of a run that was stopped, and how to go on."""
    from ..runs.reading import open_run

    try:
        steps = open_run(run, unfinished=True).partial
    except SapError:
        return "nothing was written; run the same command again"
    go_on = f"go on with `sap capture --resume {shlex.quote(str(run))}`"
    return f"{steps} are kept in {run}; {go_on}" if steps else f"no step of {run} was captured yet; {go_on}"


def _tell(run: Run, as_json: bool) -> None:
    """Print what came out."""
    from ..trajectory.accuracy import sampling_note

    found = run.trajectory.sizes
    sizes = {name: found[name] for name in ("step", "layer", "head", "position")}
    estimate = sampling_note(run.trajectory)
    document = _told(run) | {"sizes": sizes, "result": run.result}

    def show() -> Iterator[str]:
        if run.result.get("warning"):
            yield f"Warning: {run.result['warning']}"
            yield ""
        yield run.text
        yield ""
        yield f"{', '.join(f'{count} {name}s' for name, count in sizes.items())} in {run.seconds:.1f} s"
        if estimate:
            yield estimate
        yield f"Run: {run.path}"

    emit(document, as_json, show)


def _each(spec: CaptureSpec, out: str | None, executor: str, workers: dict[str, Any], as_json: bool) -> None:
    """Capture every prompt as a run of its own."""
    again = "; the same command goes on" if out is not None else ""
    with work("capture", lambda: f"the runs that are finished are kept{again}") as progress:
        from ..sweeps.captures import capture_each

        if spec.chat:
            _show_what_is_sent(spec)
        runs = capture_each(spec.model, spec=spec, out=out, executor=executor, progress=progress, **workers)
    emit([_told(run) for run in runs], as_json, lambda: (f"{run.path}  {run.text}" for run in runs))


def _told(run: Run) -> dict[str, Any]:
    """Return the --json document of one run."""
    return {"run": str(run.path), "state": run.state, "seconds": run.seconds, "text": run.text}


def _show_what_is_sent(spec: CaptureSpec) -> None:
    """Print each prompt inside the model's chat template to standard error, before the model is loaded."""
    from ..models.chat import chat_text
    from ..models.inspection import inspect_model

    info = inspect_model(spec.model, **spec.inspecting)
    for prompt in spec.prompts:
        print(chat_text(info, prompt))


def _prompts(texts: list[str] | None, file: str | None, name: str | None, column: str | None) -> tuple[str, ...] | None:
    """Return the prompts from the one option of three that names them."""
    if sum(given is not None for given in (texts or None, file, name)) > 1:
        raise InvalidInput("--prompt, --prompts and --preset are three ways to say the same; give one of them.")
    if file is not None:
        if column is not None and not file.endswith(".jsonl"):
            raise InvalidInput(f"--column names a key of a FILE.jsonl, but --prompts is '{file}'; leave it out.")
        return read_prompts(file, column)
    if column is not None:
        raise InvalidInput("--column names a key of the FILE.jsonl of --prompts; give that file, or leave it out.")
    return ready(name) if name is not None else tuple(texts) if texts else None
