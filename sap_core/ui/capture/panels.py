"""The form, the estimate, the live view and the outcome of a capture."""

from __future__ import annotations

from typing import Any, get_args

import streamlit as st

from ...choices.samplers import SAMPLERS
from ...errors import InvalidInput, SapError
from ...jobs.layout import JobStatus
from ...models.duration import estimate_seconds, step_flops
from ...models.info import ModelInfo
from ...models.memory import available_memory, estimate_memory
from ...plots.heatmap import trajectory_heatmap
from ...plots.view import make_view
from ...samplers.prompts import PRESETS, read_prompts
from ...specs import CaptureSpec
from ...specs.options import help_of
from ..widgets import results
from ..widgets.figure import draw
from ..widgets.formatting import (
    duration,
    many,
    plain_error,
    size,
)
from ..widgets.layout import go
from ..widgets.results import run_at

PROMPT = "once there was a"
LENGTH = 128
PRECISIONS = get_args(CaptureSpec.model_fields["precision"].annotation)
SOURCES = {"one": "one", "several": "several lines", "set": "a ready set", "file": "a file"}


def pick_spec(model: str, info: ModelInfo, loading: dict[str, Any]) -> CaptureSpec:
    """Return the spec the form describes; ``loading``: how the model is loaded. Raises InvalidInput with the reason."""
    prompts = _pick_prompts()
    fields: dict[str, Any] = {}
    if info.chat_template:
        fields["chat"] = st.toggle("Chat template", key="chat", help=help_of(CaptureSpec, "chat"))
    left, middle, right = st.columns(3)
    longest = info.max_length or 4096
    length = left.number_input(
        "Length (tokens)", 2, longest, min(LENGTH, longest), key="length", help=help_of(CaptureSpec, "length")
    )
    diffusion = info.objective == "masked_diffusion"
    steps = middle.number_input(
        "Steps",
        1,
        longest,
        None,
        key=f"steps_{info.objective}",
        placeholder="64, or fewer" if diffusion else "all tokens",
        help="Denoising steps; more steps write fewer tokens each. Empty: 64, or one per token where there are fewer."
        if diffusion
        else "Tokens to generate. Empty: until the length is reached.",
    )
    seed = right.number_input("Seed", 0, 2**31 - 1, 0, key="seed", help=help_of(CaptureSpec, "seed"))
    if diffusion:
        fields |= _pick_sampler(info, longest)
    fields["temperature"] = left.number_input(
        "Temperature", 0.0, 5.0, 0.0, 0.1, key="temperature", help=help_of(CaptureSpec, "temperature")
    )
    fields["name"] = middle.text_input("Name", key="name", placeholder="optional", help=help_of(CaptureSpec, "name"))
    fields["precision"] = right.selectbox(
        "Stored as", PRECISIONS, key="precision",
        help=help_of(CaptureSpec, "precision"),
    )  # fmt: skip
    return CaptureSpec.build(model=model, prompts=prompts, length=length, steps=steps, seed=seed, **fields, **loading)


def _pick_prompts() -> tuple[str, ...]:
    """Return one prompt, lines, a ready set, or a file."""
    source = st.radio(
        "Prompt", list(SOURCES), format_func=SOURCES.get, key="prompt_source", horizontal=True,
        help="Several prompts run as one batch; metrics then get a spread.",
    )  # fmt: skip
    if source == "set":
        name = st.selectbox("Set", list(PRESETS), key="prompt_set", help="Openings of different lengths.")
        st.caption(" · ".join(plain_error(prompt) for prompt in PRESETS[name]))
        return PRESETS[name]
    if source == "file":
        path = st.text_input("File", key="prompt_file", placeholder="prompts.txt", help=str(read_prompts.__doc__))
        if not path.strip():
            raise InvalidInput("Name a file with one prompt a line.")
        return read_prompts(path.strip())
    text = st.text_area(
        "Text" if source == "one" else "One prompt a line",
        PROMPT,
        key="prompt",
        height=80 if source == "one" else 120,
        help="May be empty. A diffusion model fills what follows it.",
    )
    if source == "one":
        return (text.strip("\n"),)
    return tuple(line for line in text.split("\n") if line.strip()) or ("",)


def _pick_sampler(info: ModelInfo, longest: int) -> dict[str, Any]:
    """Return what only a diffusion model has."""
    names = [name for name in info.samplers if name in SAMPLERS] or ["auto"]
    fields: dict[str, Any] = {
        "sampler": st.selectbox(
            "Sampler",
            names,
            key="sampler",
            format_func=lambda name: SAMPLERS[name].title if name in SAMPLERS else name,
            help=" ".join(f"{SAMPLERS[name].title}: {SAMPLERS[name].help}" for name in names if name in SAMPLERS),
        )
    }
    rule = SAMPLERS.get(fields["sampler"])
    first, second, third = st.columns(3)
    fields["block_length"] = first.number_input(
        "Block length", 1, longest, None, key="block_length", placeholder="one block",
        help=help_of(CaptureSpec, "block_length"),
    )  # fmt: skip
    if rule is not None and rule.threshold is not None:
        fields["threshold"] = second.number_input(
            "Confidence",
            0.01,
            1.0,
            rule.threshold,
            0.05,
            key="threshold_sampling",
            help=help_of(CaptureSpec, "threshold"),
        )
    elif rule is None or rule.guidance:
        fields["guidance"] = second.number_input(
            "Guidance",
            0.0,
            20.0,
            0.0,
            0.5,
            key="guidance",
            help=help_of(CaptureSpec, "guidance"),
        )
    fields["query_stride"] = third.number_input(
        "Use every n-th query", 1, 64, 1, key="query_stride",
        help=help_of(CaptureSpec, "query_stride"),
    )  # fmt: skip
    return fields


def memory_panel(info: ModelInfo, spec: CaptureSpec) -> bool:
    """Return what the run will take, against what there is; False when it can't fit."""
    steps = spec.steps or (min(64, spec.length) if info.objective == "masked_diffusion" else spec.length)
    need = estimate_memory(info, dtype=spec.dtype, length=spec.length, steps=steps, batch=len(spec.prompts))
    free = available_memory(spec.device)
    fits = need["total"] < free
    taken, basis = _time_needed(info, spec, steps)
    with st.container(border=True):
        st.markdown("**Before it runs**")
        st.dataframe(
            [
                {"what": "weights", "needs": size(need["weights"])},
                {"what": "one forward pass", "needs": size(need["activations"])},
                {"what": "in memory at once", "needs": size(need["total"])},
                {"what": "free on this machine", "needs": size(free)},
                {"what": "on disk afterwards, at most", "needs": size(need["trajectory"])},
                {"what": "time, about", "needs": taken},
            ],
            hide_index=True,
            alt="Memory and time estimate",
        )
        st.caption(basis)
        if not fits:
            st.error(
                f"Does not fit: {size(need['total'])} are needed and {size(free)} are free. "
                "Choose a smaller model, length or number of prompts, or a smaller precision."
            )
    return fits


def _time_needed(info: ModelInfo, spec: CaptureSpec, steps: int) -> tuple[str, str]:
    """Return the time, and the sentence on what it rests on: earlier captures here, or a probe of the processor."""
    asked = {"length": spec.length, "batch": len(spec.prompts), "guidance": spec.guidance > 0}
    flops = step_flops(info, **asked)
    known = results.paces(info.objective, spec.device)
    own = [pace for model, pace in known if model == spec.model] or [pace for _, pace in known]
    seconds = estimate_seconds(flops, steps, own)
    if seconds is not None:
        return duration(seconds), f"Time by the pace of {len(own)} earlier run{'s' if len(own) > 1 else ''}."
    if spec.device not in ("auto", "cpu"):
        return "–", "How long it takes there is known after the first run."
    probed = duration(estimate_seconds(flops, steps, [results.probed_pace()]))
    return probed, "Time is rough: from a probe of the processor; it gets better with the first run."


def live(status: JobStatus) -> None:
    """Text and heatmap so far."""
    data = status.progress.data if status.progress else {}
    if data.get("text"):
        st.text(data["text"])
    if status.run_path is None:
        return
    try:
        trajectory = run_at(status.run_path, unfinished=True).trajectory
    except SapError:
        return
    if trajectory.sizes["step"] > 1:
        draw(
            trajectory_heatmap(make_view(trajectory), height=300),
            key="live",
            alt="Attention received so far",
        )


def outcome(status: JobStatus) -> None:
    """The result of an ended capture, and where to go from here."""
    if status.run_path is None:
        return
    try:
        run = run_at(status.run_path)
        steps = run.trajectory.sizes["step"]
    except SapError as error:
        st.error(plain_error(str(error)))
        return
    with st.container(border=True):
        st.markdown(f"**{plain_error(run.name)}**: {many(steps, 'step')} captured.")
        st.text(run.text)
        left, right, last = st.columns(3)
        with left:
            go("See it unfold", "sinks", run=run.id)
        with right:
            go("Which heads are unstable?", "heads", run=run.id)
        with last:
            go("Compare it", "compare", b=run.id)
