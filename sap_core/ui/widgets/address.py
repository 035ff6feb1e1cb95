"""The page's address as state: run, sample, layer, head, step and rule, so that a view can be shared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st


def address_choice(
    label: str,
    options: Sequence[Any],
    key: str,
    *,
    format_func: Callable[[Any], str] = str,
    help: str | None = None,
    container: Any = None,
    default: int = 0,
) -> Any:
    """Show a selectbox whose value is in the address as ``key``, and return it.

    The address has the option itself, not its label as with Streamlit's own binding: a run's label changes when it is
    renamed, and two may be equal. An address that names an option that does not exist is corrected.
    """
    held = f"choice_{key}"
    texts = {address_text(option): option for option in options}
    if held in st.session_state:
        if st.session_state[held] not in options:
            del st.session_state[held]
    elif st.query_params.get(key) in texts:
        st.session_state[held] = texts[st.query_params[key]]
    extra: dict[str, Any] = {} if held in st.session_state else {"index": default}
    target: Any = container or st
    chosen = target.selectbox(
        label, options, key=held, format_func=format_func, help=help, persist_state="session", **extra
    )
    write_query_param(key, chosen)
    return chosen


def address_many(
    label: str,
    options: Sequence[Any],
    key: str,
    *,
    most: int | None = None,
    format_func: Callable[[Any], str] = str,
    help: str | None = None,
    placeholder: str | None = None,
    container: Any = None,
) -> list[Any]:
    """Show a multiselect whose values are in the address as ``key``, and return them.

    They are separated by commas; unknown ones are left out.
    """
    held = f"choice_{key}"
    if held in st.session_state:
        st.session_state[held] = [value for value in st.session_state[held] if value in options]
    else:
        texts = {address_text(option): option for option in options}
        named = str(st.query_params.get(key, "")).split(",")
        st.session_state[held] = [texts[name] for name in dict.fromkeys(named) if name in texts][:most]
    chosen = (container or st).multiselect(
        label,
        options,
        key=held,
        format_func=format_func,
        help=help,
        max_selections=most,
        placeholder=placeholder,
        persist_state="session",
    )
    if chosen or key in st.query_params:
        write_query_param(key, ",".join(address_text(value) for value in chosen))
    return chosen


def address_text(value: Any) -> str:
    """Return an option as text for the address; None (the mean) as 'mean'."""
    return "mean" if value is None else str(value)


def address_number(key: str, default: int, low: int, high: int) -> int:
    """Return an integer from the address, within its limits; ``default`` if there is none."""
    try:
        return max(low, min(high, int(st.query_params[key])))
    except (KeyError, ValueError):
        return default


def write_query_param(key: str, value: Any) -> None:
    """Write a value into the address, unless it is there already."""
    text = address_text(value)
    if st.query_params.get(key) != text:
        st.query_params[key] = text


def choose(key: str, value: Any) -> None:
    """Set what `address_choice` shows next: for callbacks and for actions that lead to other pages."""
    st.session_state[f"choice_{key}"] = value
    st.query_params[key] = address_text(value)
