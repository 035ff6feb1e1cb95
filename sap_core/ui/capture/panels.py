"""The form, the estimate, the live view and the result of a capture."""

from __future__ import annotations

from typing import Any, get_args

import streamlit as st

from ...byte_size import format_bytes
from ...choices.samplers import CACHED, END_RULES, SAMPLERS, CacheName, SamplerRule
from ...errors import InvalidInput, SapError
from ...jobs.layout import JobStatus
from ...models.duration import estimate_seconds, step_flops
from ...models.info import ModelInfo
from ...models.memory import available_memory, estimate_memory
from ...plots.heatmap import trajectory_heatmap
from ...plots.view import make_view
from ...samplers.check import default_steps
from ...samplers.prompts import PRESETS, TITLES, read_prompts
from ...specs import CaptureSpec
from ...specs.options import help_of
from ..widgets import results
from ..widgets.address import SWITCH, TEXT, Kind, address_input, address_number, one_of
from ..widgets.fields import number_of
from ..widgets.figure import draw
from ..widgets.formatting import duration, many, plain_text
from ..widgets.layout import go
from ..widgets.results import run_at

PROMPTS_HELP = "A .txt has one prompt per line; a .jsonl one JSON string or object (key prompt) per line."

PROMPT = "once there was a"
PRECISIONS = get_args(CaptureSpec.model_fields["precision"].annotation)
# Field of the spec -> label, step.
SETTINGS: dict[str, tuple[str, float]] = {
    "top_k": ("Top k", 1),
    "top_p": ("Top p", 0.01),
    "confidence_temperature": ("Confidence temperature", 0.1),
    "entropy_limit": ("Entropy limit", 0.1),
    "edit_threshold": ("Edit threshold", 0.01),
    "remasking": ("Remasking", 0.01),
}
UNBOUNDED = 1_000_000  # largest value that is offered where a field has no bound
SOURCES = {"one": "one", "several": "several lines", "set": "a ready set", "file": "a file"}


def pick_spec(model: str, info: ModelInfo, loading: dict[str, Any]) -> CaptureSpec:
    """Show the form and return its spec; ``loading``: how the model is loaded.

    Raises:
        InvalidInput: the settings don't fit each other or the model.
    """
    prompts = _pick_prompts(PROMPT if model.startswith("demo:") else "")
    fields: dict[str, Any] = {}
    if info.chat_template:
        fields["chat"] = address_input(
            st.toggle, "Chat template", "chat", False, SWITCH, help=help_of(CaptureSpec, "chat")
        )
    left, middle, right = st.columns(3)
    longest = info.max_length or 4096
    bounds = number_of(CaptureSpec, "length", most=longest)
    length = address_number(
        left.number_input, "Length (tokens)", "length", **bounds | {"value": min(bounds["value"], longest)}
    )
    diffusion = info.objective == "masked_diffusion"
    steps = address_number(
        middle.number_input,
        "Steps",
        "steps",
        held=f"steps_{info.objective}",
        placeholder="64, or fewer" if diffusion else "all tokens",
        **number_of(CaptureSpec, "steps", most=longest),
    )
    seed = address_number(right.number_input, "Seed", "seed", **number_of(CaptureSpec, "seed"))
    if diffusion:
        fields |= _pick_sampler(info, longest)
    fields["temperature"] = address_number(
        left.number_input, "Temperature", "temperature", **number_of(CaptureSpec, "temperature", step=0.1)
    )
    fields["name"] = address_input(
        middle.text_input, "Name", "name", "", TEXT, placeholder="optional", help=help_of(CaptureSpec, "name")
    )
    fields["precision"] = address_input(
        right.selectbox, "Stored as", "precision", PRECISIONS[0], one_of(PRECISIONS), options=PRECISIONS,
        help=help_of(CaptureSpec, "precision"),
    )  # fmt: skip
    return CaptureSpec.build(model=model, prompts=prompts, length=length, steps=steps, seed=seed, **fields, **loading)


def _pick_prompts(default: str) -> tuple[str, ...]:
    """Show the choice of prompts and return them: one prompt, lines, a named set, or a file."""
    source = address_input(
        st.radio, "Prompt", "prompt_source", "one", one_of(list(SOURCES)), options=list(SOURCES),
        format_func=SOURCES.get, horizontal=True, help="Several prompts run as one batch; metrics then get a spread.",
    )  # fmt: skip
    if source == "set":
        # The language of a user's own model is unknown, so no set is preselected.
        sets = list(PRESETS)
        start: Any = {} if default else {"index": None}
        known = Kind(one_of(sets).parse, lambda value: value in (None, *sets), one_of(sets).expected)
        name = address_input(
            st.selectbox, "Set", "prompt_set", sets[0] if default else None, known, options=sets,
            **start, format_func=TITLES.__getitem__,
            placeholder="in a language that the model reads", help="Openings of different lengths.",
        )  # fmt: skip
        if name is None:
            raise InvalidInput("Choose a set of prompts in a language that the model reads.")
        st.caption(" · ".join(plain_text(prompt) for prompt in PRESETS[name]))
        return PRESETS[name]
    if source == "file":
        path = address_input(
            st.text_input, "File", "prompt_file", "", TEXT, placeholder="prompts.txt", help=PROMPTS_HELP
        )
        if not path.strip():
            raise InvalidInput("Name a file with one prompt a line.")
        return read_prompts(path.strip())
    if not default and st.session_state.get("prompt") == PROMPT:
        st.session_state["prompt"] = ""  # the demo's own, left over from a demo model
    text = address_input(
        st.text_area,
        "Text" if source == "one" else "One prompt a line",
        "prompt",
        default,
        TEXT,
        height=80 if source == "one" else 120,
        placeholder="in the language of the model's training texts, or empty",
        help="May be empty. A diffusion model fills what follows it.",
    )
    if source == "one":
        return (text.strip("\n"),)
    return tuple(line for line in text.split("\n") if line.strip()) or ("",)


def _pick_sampler(info: ModelInfo, longest: int) -> dict[str, Any]:
    """Show the options that only a diffusion model has, and return them."""
    names = [name for name in info.samplers if name in SAMPLERS] or ["auto"]
    fields: dict[str, Any] = {
        "sampler": address_input(
            st.selectbox,
            "Sampler",
            "sampler",
            names[0],
            one_of(names),
            options=names,
            format_func=lambda name: SAMPLERS[name].title if name in SAMPLERS else name,
            help=" ".join(f"{SAMPLERS[name].title}: {SAMPLERS[name].help}" for name in names if name in SAMPLERS),
        )
    }
    rule = SAMPLERS.get(fields["sampler"])
    first, second, third = st.columns(3)
    fields["block_length"] = address_number(
        first.number_input, "Block length", "block_length", placeholder="one block",
        **number_of(CaptureSpec, "block_length", most=longest),
    )  # fmt: skip
    if rule is not None and rule.threshold is not None:
        fields["threshold"] = address_number(
            second.number_input,
            "Confidence",
            "threshold",
            held=f"threshold_{rule.name}_sampling",
            **number_of(CaptureSpec, "threshold", step=0.01, value=rule.threshold),
        )
    elif rule is None or rule.guidance:
        fields["guidance"] = address_number(
            second.number_input, "Guidance", "guidance", **number_of(CaptureSpec, "guidance", step=0.5)
        )
    fields |= _pick_settings(rule)
    fields["query_stride"] = address_number(
        third.number_input,
        "Use every n-th query",
        "query_stride",
        **number_of(CaptureSpec, "query_stride", most=longest),
    )
    return fields


def _pick_settings(rule: SamplerRule | None) -> dict[str, Any]:
    """Return the further settings that the sampler reads, each with the help of its field; empty ones are its own."""
    read = () if rule is None else rule.options
    names = [name for name in SETTINGS if name in read]
    cached = rule is not None and rule.name in CACHED
    if not names and not cached and "ends" not in read:
        return {}
    fields: dict[str, Any] = {}
    with st.expander("More settings of the sampler", icon=":material/tune:"):
        columns = st.columns(3)
        for number, name in enumerate(names):
            label, step = SETTINGS[name]
            fields[name] = address_number(
                columns[number % 3].number_input, label, name, held=f"sampling_{name}", placeholder="its own",
                **number_of(CaptureSpec, name, most=UNBOUNDED, step=step),
            )  # fmt: skip
        if "ends" in read:
            ends = ("auto", *END_RULES[1:])
            fields["ends"] = address_input(
                columns[len(names) % 3].selectbox, "End tokens", "ends", ends[0], one_of(ends), held="sampling_ends",
                options=ends, help=help_of(CaptureSpec, "ends"),
            )  # fmt: skip
        if cached:
            caches = get_args(CacheName)
            fields["cache"] = address_input(
                columns[(len(names) + 1) % 3].selectbox, "Cache (approximate)", "cache", caches[0], one_of(caches),
                held="sampling_cache", options=caches, help=help_of(CaptureSpec, "cache"),
            )  # fmt: skip
    return fields


def memory_panel(info: ModelInfo, spec: CaptureSpec) -> bool:
    """Show the memory the run needs and the memory available; return False if it does not fit."""
    try:
        steps = default_steps(info, spec, spec.length)
    except SapError as error:
        st.error(plain_text(str(error)))
        return False
    need = estimate_memory(info, dtype=spec.dtype, length=spec.length, steps=steps, batch=len(spec.prompts))
    free = available_memory(spec.device)
    fits = need["total"] < free
    taken, basis = _time_needed(info, spec, steps)
    with st.container(border=True):
        st.markdown("**Before it runs**")
        st.dataframe(
            [
                {"what": "weights", "needs": format_bytes(need["weights"])},
                {"what": "one forward pass", "needs": format_bytes(need["activations"])},
                {"what": "in memory at once", "needs": format_bytes(need["total"])},
                {"what": "free on this machine", "needs": format_bytes(free)},
                {"what": "on disk afterwards, at most", "needs": format_bytes(need["trajectory"])},
                {"what": "time, about", "needs": taken},
            ],
            hide_index=True,
            alt="Memory and time estimate",
        )
        st.caption(basis)
        if not fits:
            st.error(
                f"Does not fit: {format_bytes(need['total'])} are needed and {format_bytes(free)} are free. "
                "Choose a smaller model, length or number of prompts, or a smaller precision."
            )
    return fits


def _time_needed(info: ModelInfo, spec: CaptureSpec, steps: int) -> tuple[str, str]:
    """Return the duration, and a sentence on its source: earlier captures here, or a probe of the processor."""
    asked = {"length": spec.length, "batch": len(spec.prompts), "guidance": spec.guidance > 0}
    flops = step_flops(info, **asked)
    known = results.paces(info.objective, spec.device)
    own = [pace for model, pace in known if model == spec.model] or [pace for _, pace in known]
    seconds = estimate_seconds(flops, steps, own)
    if seconds is not None:
        return duration(seconds), f"Estimated from {len(own)} earlier run{'s' if len(own) > 1 else ''}."
    if spec.device not in ("auto", "cpu"):
        return "–", "No estimate for this device before its first run."
    probed = duration(estimate_seconds(flops, steps, [results.probed_pace()]))
    return probed, "Time is rough: from a probe of the processor; it gets better with the first run."


def live(status: JobStatus) -> None:
    """Show text and heatmap so far."""
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
    """Show the result of an ended capture, with links."""
    if status.run_path is None:
        return
    try:
        run = run_at(status.run_path)
        steps = run.trajectory.sizes["step"]
    except SapError as error:
        st.error(plain_text(str(error)))
        return
    with st.container(border=True):
        st.markdown(f"**{plain_text(run.name)}**: {many(steps, 'step')} captured.")
        if run.result.get("warning"):
            st.warning(plain_text(run.result["warning"]))
        st.text(run.text)
        left, right, last = st.columns(3)
        with left:
            go("See it unfold", "sinks", run=run.id)
        with right:
            go("Which heads are unstable?", "heads", run=run.id)
        with last:
            go("Compare it", "compare", b=run.id)
