"""``sap capture``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..choices.samplers import END_RULES, SAMPLERS
from ..errors import Cancelled, InvalidInput
from ..samplers.prompts import PRESETS, read_prompts
from ..samplers.prompts import preset as ready
from . import options as opt
from .console import emit, work

if TYPE_CHECKING:
    from ..runs.reading import Run
    from ..specs import CaptureSpec


def register(app: typer.Typer) -> None:
    app.command()(capture)


def capture(
    model: opt.Model,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            "--prompt", "-p", help="What the text begins with; again for more texts at once.", show_default='""'
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(help="FILE.txt or FILE.jsonl with one prompt per line, as one batch.", show_default=False),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help=f"A ready set of prompts: {', '.join(PRESETS)}.", show_default=False)
    ] = None,
    chat: Annotated[bool | None, typer.Option("--chat", help="Put each prompt into the model's chat template.")] = None,
    length: Annotated[int | None, typer.Option(help="Tokens in all, prompt included.", show_default="128")] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Denoising steps; autoregressive: tokens to generate.", show_default="64, or all tokens if fewer"
        ),
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(SAMPLERS)}.", show_default="the model's own")
    ] = None,
    block_length: Annotated[
        int | None, typer.Option(help="Tokens per semi-autoregressive block.", show_default="one block")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy.", show_default="0")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Classifier-free guidance; 0 is off.", show_default="0")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Confidence that keeps a token, for threshold samplers.", show_default="its own"),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Draw among the k likeliest tokens; 0: all.", show_default="the family's own")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(help="Draw among the likeliest tokens that sum to this probability.", show_default=False),
    ] = None,
    confidence_temperature: Annotated[
        float | None,
        typer.Option(help="Dream's alg_temp: which masks open is drawn instead of ranked.", show_default=False),
    ] = None,
    ends: Annotated[
        str | None,
        typer.Option(help=f"What an end token does: {', '.join(END_RULES)}.", show_default="auto"),
    ] = None,
    entropy_limit: Annotated[
        float | None, typer.Option(help="Sampler entropy_bounded: gamma.", show_default="its own, 0.1")
    ] = None,
    edit_threshold: Annotated[
        float | None,
        typer.Option(help="Sampler token_editing: confidence that rewrites.", show_default="its own, 0.9"),
    ] = None,
    remasking: Annotated[
        float | None,
        typer.Option(help="Samplers remdm_...: how much is masked again.", show_default="the sampler's own"),
    ] = None,
    query_stride: Annotated[
        int | None,
        typer.Option(help="Estimate attention from every n-th query; the run measures the error.", show_default="1"),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Of the stored attention: float32, float16 or uint8.", show_default="float32")
    ] = None,
    seed: opt.Seed = None,
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
    name: opt.Name = None,
    dtype: opt.Dtype = None,
    device: opt.Device = None,
    trust_remote_code: opt.RemoteCode = None,
    mask_token_id: opt.MaskToken = None,
    causal: opt.Causal = None,
    shift_logits: opt.ShiftLogits = None,
    block_size: opt.BlockSize = None,
    keep: opt.Keep = None,
    as_json: opt.Json = False,
) -> None:
    """Generate from a prompt and record attention at every step, layer and head."""
    from ..runs.paths import check_new_run, new_run_path
    from ..specs import CaptureSpec

    spec = CaptureSpec.build(
        model=model,
        **opt.given(
            prompts=_prompts(prompt, prompts, preset),
            chat=chat,
            length=length,
            steps=steps,
            sampler=sampler,
            block_length=block_length,
            temperature=temperature,
            guidance=guidance,
            threshold=threshold,
            top_k=top_k,
            top_p=top_p,
            confidence_temperature=confidence_temperature,
            ends=ends,
            entropy_limit=entropy_limit,
            edit_threshold=edit_threshold,
            remasking=remasking,
            query_stride=query_stride,
            precision=precision,
            seed=seed,
            name=name,
            dtype=dtype,
            device=device,
            trust_remote_code=trust_remote_code,
            mask_token_id=mask_token_id,
            causal=causal,
            shift_logits=shift_logits,
            block_size=block_size,
            keep=keep,
        ),
    )
    workers = opt.given(
        workers=workers, address=address, gpus_per_worker=gpus_per_worker, cpus_per_worker=cpus_per_worker
    )
    if executor is not None:
        return _each(spec, out, executor, workers, as_json)
    if workers:
        options = ", ".join(f"--{option.replace('_', '-')}" for option in workers)
        raise InvalidInput(f"{options} belongs to --executor, which captures each prompt as a run of its own; add it.")
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
    """What --json says of every run."""
    return {"run": str(run.path), "state": run.state, "seconds": run.seconds, "text": run.text}


def _show_what_is_sent(spec: CaptureSpec) -> None:
    """Each prompt inside the model's chat template, on standard error, before the model is loaded."""
    from ..models.chat import chat_text
    from ..models.inspection import inspect_model

    info = inspect_model(spec.model, **spec.inspecting)
    for prompt in spec.prompts:
        print(chat_text(info, prompt))


def _prompts(texts: list[str] | None, file: str | None, name: str | None) -> tuple[str, ...] | None:
    """The prompts, from one of the three places they can come from."""
    if sum(place is not None for place in (texts or None, file, name)) > 1:
        raise InvalidInput("--prompt, --prompts and --preset are three ways to say the same; give one of them.")
    if file is not None:
        return read_prompts(file)
    return ready(name) if name is not None else tuple(texts) if texts else None
