"""The choice of a model: a demo, a folder or a Hub id; and its description before it is loaded."""

from __future__ import annotations

from typing import Any, get_args

import streamlit as st

from ...byte_size import format_bytes
from ...errors import SapError
from ...models.info import ModelInfo
from ...specs import CONVENTIONS, ModelOptions
from ...specs.options import absolute, help_of
from .formatting import count, plain_text
from .results import model_info

DEMOS = {
    "demo:stories-diffusion": "demo:stories-diffusion (masked diffusion)",
    "demo:stories-ar": "demo:stories-ar (autoregressive)",
}
DTYPES = get_args(ModelOptions.model_fields["dtype"].annotation)
ATTENTION = {None: "as declared", False: "bidirectional (denoises)", True: "causal (writes left to right)"}
ROWS = {None: "as declared", False: "row i predicts token i", True: "row i predicts token i + 1"}
OBJECTIVES = {"masked_diffusion": "masked diffusion", "autoregressive": "autoregressive"}


def pick_model(
    key: str = "model", *, container: Any = None, loading: dict[str, Any] | None = None
) -> tuple[str, ModelInfo | None]:
    """Show the choice of a model; return its name and description, or None, with the reason shown."""
    target = container or st
    options = list(DEMOS)
    held, named = f"choice_{key}", st.query_params.get(key)
    if held not in st.session_state and named:
        st.session_state[held] = named
    current = st.session_state.get(held)
    if current and current not in options:
        options.append(current)
    model = target.selectbox(
        "Model",
        options,
        key=held,
        format_func=lambda name: str(DEMOS.get(name, name)),
        accept_new_options=True,
        persist_state="session",
        help="A demo model, a folder with config.json and safetensors, or a Hub id: type it and press Enter.",
    )
    if st.query_params.get(key) != model:
        st.query_params[key] = model
    try:
        return model, model_info(model, **{name: (loading or {}).get(name) for name in CONVENTIONS})
    except SapError as error:
        target.error(plain_text(str(error)))
        return model, None


def describe(info: ModelInfo) -> None:
    """Show one line on the model."""
    parts = [
        info.title,
        OBJECTIVES.get(info.objective, info.objective),
        f"{count(info.parameters)} parameters ({format_bytes(info.bytes)}, {info.dtype})",
        f"{info.layers} layers × {info.heads} heads",
    ]
    if info.max_length:
        parts.append(f"up to {info.max_length} tokens")
    st.caption(plain_text(" · ".join(parts)))


def loading_options() -> dict[str, Any]:
    """Show the folded loading options and return them; they are the same on every page that loads a model."""
    with st.expander("How the model is loaded", icon=":material/settings:"):
        left, right = st.columns(2)
        dtype = left.selectbox(
            "Precision", list(DTYPES), help=help_of(ModelOptions, "dtype"),
            key="dtype", persist_state="session",
        )  # fmt: skip
        device = right.text_input(
            "Device", "auto", key="device", persist_state="session",
            help=help_of(ModelOptions, "device"),
        )  # fmt: skip
        mask = left.number_input(
            "Mask token id",
            min_value=0,
            value=None,
            help=help_of(ModelOptions, "mask_token_id"),
            key="mask_token_id",
            persist_state="session",
        )
        trust = right.toggle(
            "Run code that comes with the model",
            key="trust_remote_code",
            persist_state="session",
            help="Off: a model that needs its own Python code is refused. On: that code runs on this machine.",
        )
        attention = left.selectbox(
            "Attention", list(ATTENTION), format_func=ATTENTION.__getitem__, key="causal", persist_state="session",
            help="Only where the model's config.json does not say it.",
        )  # fmt: skip
        shift = right.selectbox(
            "Rows of the logits", list(ROWS), format_func=ROWS.__getitem__, key="shift_logits", persist_state="session",
            help="Models that were made from autoregressive ones, as Dream was, predict the next token.",
        )  # fmt: skip
        block = left.number_input(
            "Block size", min_value=0, value=None, key="block_size", persist_state="session",
            help="Tokens that a block-causal model denoises at a time; 0: the whole text at once.",
        )  # fmt: skip
        adapter = right.text_input(
            "Adapter", key="adapter", persist_state="session", placeholder="none",
            help=help_of(ModelOptions, "adapter"),
        )  # fmt: skip
    adapter = absolute(adapter.strip()) if adapter.strip() else None
    conventions = {"mask_token_id": mask, "causal": attention, "shift_logits": shift, "block_size": block}
    return {"dtype": dtype, "device": device or "auto", "trust_remote_code": trust, "adapter": adapter} | conventions
