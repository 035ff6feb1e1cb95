"""The page's address as state: every choice that makes up a view is in it, to be shared and gone back to.

The address outranks the session where the user arrives: in a new session, on another page, and with Back and Forward.
From then on the session's widgets decide and the address mirrors them. One action of the user makes one entry of the
browser's history (see `history.js`). A value in the address that the page can't use is reported, then corrected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import streamlit as st

from .formatting import plain_text
from .streamlit_internals import came_by_history, page_identity

ARRIVAL, HELD_BACK, NOTES = "address_arrival", "address_held_back", "address_notes"
HISTORY = Path(__file__).with_name("history.js")
LONGEST = 4000  # letters of one value; longer ones (a page of prompts) stay out of the address


@dataclass
class Arrival:
    """What the address said when the user came to a page, and which parts of it have been read since."""

    page: str
    query: dict[str, str]
    by_history: bool
    read: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Kind:
    """A kind of value: how it is read from the address, and which values fit.

    ``parse`` raises ValueError or KeyError for text that is none; ``expected`` completes "expected ...".
    """

    parse: Callable[[str], Any]
    fits: Callable[[Any], bool]
    expected: str
    show: Callable[[Any], str] = str


TEXT = Kind(str, lambda value: isinstance(value, str), "text")
SWITCH = Kind({"on": True, "off": False}.__getitem__, lambda value: isinstance(value, bool), "on or off",
              lambda value: "on" if value else "off")  # fmt: skip


def number_in(low: float | None, high: float | None, *, empty: bool = False) -> Kind:
    """Return the kind of numbers from ``low`` to ``high``, of the type of these; ``empty``: or no number."""
    kind = type(high if high is not None else low)  # int or float

    def fits(value: Any) -> bool:
        if value is None:
            return empty
        return isinstance(value, int | float) and (low is None or value >= low) and (high is None or value <= high)

    limits = f"from {low:g} to {high:g}" if None not in (low, high) else f"of at least {low:g}" if high is None else ""
    return Kind(kind, fits, f"a number {limits}".strip(), lambda value: f"{value:.10g}")


def one_of(options: Sequence[Any]) -> Kind:
    """Return the kind whose values are ``options``."""
    texts = {address_text(option): option for option in options}
    return Kind(texts.__getitem__, lambda value: value in texts.values(), _listed(list(texts)), address_text)


def some_of(options: Sequence[Any], most: int | None = None) -> Kind:
    """Return the kind of lists of ``options``, separated by commas."""
    texts = {address_text(option): option for option in options}

    def parse(text: str) -> list[Any]:
        return [texts[name] for name in dict.fromkeys(text.split(",")) if name][:most]

    return Kind(
        parse,
        lambda value: all(one in texts.values() for one in value),
        _listed(list(texts)),
        lambda value: ",".join(address_text(one) for one in value),
    )


def arrive() -> None:
    """Note what the address says, if the user has just come to this page; every page calls this first."""
    state, page = st.session_state, page_identity()
    st.session_state[NOTES] = st.container()
    known: Arrival | None = state.get(ARRIVAL)
    if known is None or known.page != page or came_by_history():
        state[ARRIVAL] = Arrival(page, st.query_params.to_dict(), came_by_history())


def hold_back() -> None:
    """Keep changes of the address until `release`: in a session's first run the browser may not be ready for them."""
    st.session_state.setdefault(HELD_BACK, {})
    with st.container(key="history"):
        st.html(f"<script>{HISTORY.read_text(encoding='utf-8')}</script>", unsafe_allow_javascript=True)


def release() -> None:
    """Make the changes of the address that were held back; from now on they are made at once."""
    held = st.session_state.get(HELD_BACK)
    st.session_state[HELD_BACK] = None
    if held:
        st.query_params.from_dict({**st.query_params.to_dict(), **held})


def arrived_with(key: str) -> tuple[bool, str | None]:
    """Return whether the address has a say about ``key``, and its text; None: it stands for the default.

    It has one once for each arrival. By Back and Forward a value that is missing is the default; a link leaves what it
    does not name as it is.
    """
    arrival: Arrival | None = st.session_state.get(ARRIVAL)
    if arrival is None or key in arrival.read:
        return False, None
    arrival.read.add(key)
    text = arrival.query.get(key)
    return text is not None or arrival.by_history, text


def take_in(key: str, held: str, kind: Kind) -> None:
    """Set the session's value ``held`` from the address, where that has a say; drop one that does not fit (any more).

    Text that is no such value is told.
    """
    state = st.session_state
    said, text = arrived_with(key)
    if said:
        state.pop(held, None)
    if text is not None:
        try:
            value = kind.parse(text)
        except (ValueError, KeyError):
            unknown(key, text, kind.expected)
        else:
            if kind.fits(value):
                state[held] = value
            else:
                unknown(key, text, kind.expected)
    if held in state and not kind.fits(state[held]):
        del state[held]


def unknown(key: str, text: str, expected: str) -> None:
    """Tell that the address has a value which can't be used."""
    tell(f"The address has {key} = {text[:60]}; expected {expected}. The page shows its default instead.")


def tell(sentence: str) -> None:
    """Show a sentence on the address below the page's heading."""
    (st.session_state.get(NOTES) or st).warning(plain_text(sentence))


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
    renamed, and two may be equal.
    """
    held = f"choice_{key}"
    take_in(key, held, one_of(options))
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
    held: str | None = None,
    default: Sequence[Any] = (),
    container: Any = None,
    **details: Any,
) -> list[Any]:
    """Show a multiselect whose values are in the address as ``key`` unless they are the default, and return them.

    ``details`` go to `st.multiselect`.
    """
    return address_input(
        (container or st).multiselect, label, key, list(default), some_of(options, most), held=held or f"choice_{key}",
        options=options, max_selections=most, **details,
    )  # fmt: skip


def address_number(
    draw: Callable[..., Any], label: str, key: str, value: Any = None, min_value: Any = None, max_value: Any = None,
    step: Any = None, *, held: str | None = None, **details: Any,
) -> Any:  # fmt: skip
    """Show a number input or slider (``draw``) whose value is in the address as ``key``, and return it.

    The arguments are those of Streamlit, as `fields.number_of` gives them.
    """
    limits = {"min_value": min_value, "max_value": max_value, **({} if step is None else {"step": step})}
    empty = {"value": None} if value is None else {}
    kind = number_in(min_value, max_value, empty=value is None)
    return address_input(draw, label, key, value, kind, held=held, **limits, **empty, **details)


def address_input(
    draw: Callable[..., Any], label: str, key: str, default: Any, kind: Kind, *, held: str | None = None,
    persist: bool = True, **details: Any,
) -> Any:  # fmt: skip
    """Show any widget whose value is in the address as ``key`` unless it is ``default``, and return it.

    Args:
        draw: Method of Streamlit or of a container that shows the widget.
        label: Of the widget.
        key: In the address.
        default: Value of the widget at first.
        kind: Of its value.
        held: Key of the widget; default: ``key``.
        persist: Keep the value while the widget is not shown; not every widget can.
        details: Further arguments of the widget.
    """
    held = held or key
    take_in(key, held, kind)
    st.session_state.setdefault(held, default)
    if persist:
        details["persist_state"] = "session"
    drawn = draw(label, key=held, **details)  # tabs return their containers, other widgets their value
    mirror(key, st.session_state[held], default, kind)
    return drawn


def mirror(key: str, value: Any, default: Any, kind: Kind) -> None:
    """Write a value into the address; the default, and text too long for an address, is left out of it."""
    same = value is None or value == default
    text = "" if same else kind.show(value)
    write_query_param(key, None if same or len(text) > LONGEST else text, none="")


def step_in_view(steps: int) -> int:
    """Return the step that all figures of a run show; of a run with fewer steps, the last one."""
    return _shared_number("step", steps, clamp=True) or 0


def selection_in_view() -> dict[str, str]:
    """Return the address of the selection that all pages share, for links: prompt, layer, head, step."""
    held = {key: f"choice_{key}" for key in ("sample", "layer", "head", "step")}
    return {key: address_text(st.session_state[name]) for key, name in held.items()
            if st.session_state.get(name) is not None}  # fmt: skip


def _shared_number(key: str, count: int, *, clamp: bool = False) -> int | None:
    """Return a number of the shared selection as it applies to this run; the session keeps it for longer runs."""
    held = f"choice_{key}"
    told = st.query_params.get(key) if key not in getattr(st.session_state.get(ARRIVAL), "read", ()) else None
    take_in(key, held, number_in(0, None))
    value = st.session_state.get(held)
    if value is not None and value >= count:
        if told == str(value):
            shown = f"showing {key} {count - 1}" if clamp else "none is shown"
            tell(f"The address has {key} = {value}; this run has {key}s 0 to {count - 1}, and {shown}.")
        value = count - 1 if clamp else None
    write_query_param(key, value, none="")
    return value


def address_text(value: Any) -> str:
    """Return an option as text for the address; None (the mean) as 'mean', a pair (layer, head) as '3.1'."""
    if isinstance(value, tuple):
        return ".".join(map(str, value))
    return "mean" if value is None else str(value)


def write_query_param(key: str, value: Any, *, none: str = "mean") -> None:
    """Write a value into the address, unless it is there already; None removes it where ``none`` is empty."""
    text = None if value is None and not none else address_text(value)
    held_back = st.session_state.get(HELD_BACK)
    if held_back is not None:
        if text is not None:
            held_back[key] = text
        return
    if text is None:
        if key in st.query_params:
            del st.query_params[key]
    elif st.query_params.get(key) != text:
        st.query_params[key] = text


def choose(key: str, value: Any, *, held: str | None = None) -> None:
    """Set what a widget of the address shows next: for callbacks and for actions that lead to other pages."""
    arrived_with(key)  # what the address said is outdated
    st.session_state[held or f"choice_{key}"] = value


def _listed(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"one of {', '.join(texts[:8])}{' …' if len(texts) > 8 else ''}"
