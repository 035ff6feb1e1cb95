"""Choosing a model: a demo, a folder or a Hub id; and what is known of it before it is loaded."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ..errors import SapError
from ..models.info import ModelInfo
from .results import model_info
from .words import count, plain_error, size

DEMOS = {
    "demo:stories-diffusion": "demo:stories-diffusion (masked diffusion)",
    "demo:stories-ar": "demo:stories-ar (autoregressive)",
}
OBJECTIVES = {"masked_diffusion": "masked diffusion", "autoregressive": "autoregressive"}


def pick_model(
    key: str = "model", *, container: Any = None, mask_token_id: int | None = None
) -> tuple[str, ModelInfo | None]:
    """A model's name and what its config says; None, with the reason shown, when it can't be used."""
    place = container or st
    options = list(DEMOS)
    held, named = f"choice_{key}", st.query_params.get(key)
    if held not in st.session_state and named:
        st.session_state[held] = named
    current = st.session_state.get(held)
    if current and current not in options:
        options.append(current)
    model = place.selectbox(
        "Model",
        options,
        key=held,
        format_func=lambda name: DEMOS.get(name, name),
        accept_new_options=True,
        persist_state="session",
        help="A demo model, a folder with config.json and safetensors, or a Hub id: type it and press Enter.",
    )
    if st.query_params.get(key) != model:
        st.query_params[key] = model
    try:
        return model, model_info(model, mask_token_id)
    except SapError as error:
        place.error(plain_error(str(error)))
        return model, None


def describe(info: ModelInfo) -> None:
    """One line on the model."""
    parts = [
        info.title,
        OBJECTIVES.get(info.objective, info.objective),
        f"{count(info.parameters)} parameters ({size(info.bytes)}, {info.dtype})",
        f"{info.layers} layers × {info.heads} heads",
    ]
    if info.max_length:
        parts.append(f"up to {info.max_length} tokens")
    st.caption(" · ".join(parts))
