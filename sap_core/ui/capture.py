"""The form, the estimate, the live view and the outcome of a capture."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ..errors import SapError
from ..jobs.layout import JobStatus
from ..models.info import ModelInfo
from ..models.memory import available_memory, estimate_memory
from ..plots.heatmap import trajectory_heatmap
from ..plots.view import make_view
from ..samplers.rules import SAMPLERS
from ..specs import CaptureSpec
from .figure import draw
from .frame import go
from .results import run_at
from .words import plain_error, size

PROMPT = "once there was a"
LENGTH = 128


def pick_spec(model: str, info: ModelInfo, advanced: dict[str, Any]) -> CaptureSpec:
    """The spec the form describes. Raises InvalidInput with the reason."""
    several = st.toggle(
        "Several prompts, one per line", key="several", help="They run as one batch; metrics get a spread."
    )
    text = st.text_area(
        "Prompt",
        PROMPT,
        key="prompt",
        height=120 if several else 80,
        help="May be empty. A diffusion model fills what follows it.",
    )
    prompts = tuple(line for line in text.split("\n") if line.strip()) if several else (text.strip("\n"),)
    left, middle, right = st.columns(3)
    longest = info.max_length or 4096
    length = left.number_input(
        "Length (tokens)", 2, longest, min(LENGTH, longest), key="length", help="Of the whole canvas, prompt included."
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
    seed = right.number_input("Seed", 0, 2**31 - 1, 0, key="seed", help="The same seed gives the same text.")
    fields: dict[str, Any] = {}
    names = [name for name in info.samplers if name in SAMPLERS] or ["auto"]
    if diffusion:
        fields["sampler"] = left.selectbox(
            "Sampler",
            names,
            key="sampler",
            format_func=lambda name: SAMPLERS[name].title if name in SAMPLERS else name,
            help=" ".join(f"{SAMPLERS[name].title}: {SAMPLERS[name].help}" for name in names if name in SAMPLERS),
        )
        fields["block_length"] = middle.number_input(
            "Block length", 1, longest, None, key="block_length", placeholder="one block",
            help="Writes block after block from left to right, this many tokens each.",
        )  # fmt: skip
        fields["guidance"] = right.number_input(
            "Guidance",
            0.0,
            20.0,
            0.0,
            0.5,
            key="guidance",
            help="Classifier-free guidance scale; 0 is off and twice as fast.",
        )
    fields["temperature"] = left.number_input(
        "Temperature", 0.0, 5.0, 0.0, 0.1, key="temperature", help="0 takes the likeliest token."
    )
    fields["name"] = middle.text_input("Name", key="name", placeholder="optional", help="Shown in the list of runs.")
    return CaptureSpec.build(
        model=model, prompts=prompts or ("",), length=length, steps=steps, seed=seed, **fields, **advanced
    )


def memory_panel(info: ModelInfo, spec: CaptureSpec) -> bool:
    """What the run will take, against what there is; False when it can't fit."""
    steps = spec.steps or (min(64, spec.length) if info.objective == "masked_diffusion" else spec.length)
    need = estimate_memory(info, dtype=spec.dtype, length=spec.length, steps=steps, batch=len(spec.prompts))
    free = available_memory()
    fits = need["total"] < free
    with st.container(border=True):
        st.markdown("**Before it runs**")
        st.dataframe(
            [
                {"what": "weights", "needs": size(need["weights"])},
                {"what": "one forward pass", "needs": size(need["activations"])},
                {"what": "in memory at once", "needs": size(need["total"])},
                {"what": "free on this machine", "needs": size(free)},
                {"what": "on disk afterwards, at most", "needs": size(need["trajectory"])},
            ],
            hide_index=True,
            alt="Memory estimate",
        )
        if not fits:
            st.error(
                f"Does not fit: {size(need['total'])} are needed and {size(free)} are free. "
                "Choose a smaller model, length or number of prompts, or a smaller precision."
            )
    return fits


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
        st.markdown(f"**{plain_error(run.name)}**: {steps} steps captured.")
        st.text(run.text)
        left, right, last = st.columns(3)
        with left:
            go("See it unfold", "sinks", run=run.id)
        with right:
            go("Which heads are unstable?", "heads", run=run.id)
        with last:
            go("Compare it", "compare", b=run.id)
