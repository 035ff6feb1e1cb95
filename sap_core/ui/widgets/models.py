"""The choice of a model: a demo, a folder or a Hub id; and its description before it is loaded."""

from __future__ import annotations

from typing import Any, get_args

import streamlit as st

from ...byte_size import format_bytes
from ...errors import SapError
from ...models.info import ModelInfo
from ...runs.listing import describe_run
from ...runs.paths import resolve_run
from ...specs import CONVENTIONS, ModelOptions
from ...specs.options import absolute, help_of
from .address import SWITCH, TEXT, Kind, address_input, address_number, one_of, take_in, write_query_param
from .formatting import count, plain_text
from .results import model_info

DEMOS = {
    "demo:stories-diffusion": "demo:stories-diffusion (masked diffusion)",
    "demo:stories-ar": "demo:stories-ar (autoregressive)",
}
DTYPES = get_args(ModelOptions.model_fields["dtype"].annotation)
ATTENTION = {None: "as declared", False: "bidirectional (denoises)", True: "causal (writes left to right)"}
ROWS = {None: "as declared", False: "row i predicts token i", True: "row i predicts token i + 1"}
_CONVENTION = Kind(SWITCH.parse, lambda value: value is None or isinstance(value, bool), SWITCH.expected, SWITCH.show)
OBJECTIVES = {"masked_diffusion": "masked diffusion", "autoregressive": "autoregressive"}


def pick_model(
    key: str = "model", *, container: Any = None, loading: dict[str, Any] | None = None
) -> tuple[str, ModelInfo | None]:
    """Show the choice of a model; return its name and description, or None, with the reason shown."""
    target = container or st
    options = list(DEMOS)
    held = f"choice_{key}"
    take_in(key, held, TEXT)
    current = st.session_state.get(held) or _model_of_run_in_view()
    if current:
        st.session_state[held] = current
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
    write_query_param(key, model)
    try:
        return model, model_info(model, **{name: (loading or {}).get(name) for name in CONVENTIONS})
    except SapError as error:
        target.error(plain_text(str(error)))
        return model, None


def model_form() -> tuple[str, ModelInfo | None, dict[str, Any]]:
    """Show the choice of a model above its loading options; return its name, its description or None, the options."""
    above = st.container()  # the model comes first to the eye, but is read with the options below it
    loading = loading_options()
    with above:
        model, info = pick_model(loading=loading)
        if info is not None:
            describe(info)
    return model, info, loading


def _model_of_run_in_view() -> str | None:
    """Return the model of the run that Sinks and Heads show, if they have been visited."""
    run = st.session_state.get("choice_run")
    try:
        return (describe_run(resolve_run(run)).model or None) if run else None
    except SapError:
        return None


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
        dtype = address_input(
            left.selectbox, "Precision", "dtype", DTYPES[0], one_of(DTYPES), options=list(DTYPES),
            help=help_of(ModelOptions, "dtype"),
        )  # fmt: skip
        device = address_input(right.text_input, "Device", "device", "auto", TEXT, help=help_of(ModelOptions, "device"))
        mask = address_number(
            left.number_input, "Mask token id", "mask_token_id", None, 0, None, 1,
            help=help_of(ModelOptions, "mask_token_id"),
        )  # fmt: skip
        trust = right.toggle(  # never in the address: a link must not make anybody run code
            "Run code that comes with the model",
            key="trust_remote_code",
            persist_state="session",
            help="Off: a model that needs its own Python code is refused. On: that code runs on this machine.",
        )
        attention = address_input(
            left.selectbox, "Attention", "causal", None, _CONVENTION, options=list(ATTENTION),
            format_func=ATTENTION.__getitem__, help="Only where the model's config.json does not say it.",
        )  # fmt: skip
        shift = address_input(
            right.selectbox, "Rows of the logits", "shift_logits", None, _CONVENTION, options=list(ROWS),
            format_func=ROWS.__getitem__,
            help="Models that were made from autoregressive ones, as Dream was, predict the next token.",
        )  # fmt: skip
        block = address_number(
            left.number_input, "Block size", "block_size", None, 0, None, 1,
            help="Tokens that a block-causal model denoises at a time; 0: the whole text at once.",
        )  # fmt: skip
        adapter = address_input(
            right.text_input, "Adapter", "adapter", "", TEXT, placeholder="none", help=help_of(ModelOptions, "adapter")
        )
    adapter = absolute(adapter.strip()) if adapter.strip() else None
    conventions = {"mask_token_id": mask, "causal": attention, "shift_logits": shift, "block_size": block}
    return {"dtype": dtype, "device": device or "auto", "trust_remote_code": trust, "adapter": adapter} | conventions
