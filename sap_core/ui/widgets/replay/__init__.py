"""The replay: play, pause, step and scrub through a run in the browser, without a round trip per frame."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components import v2

from ....plots.quantity import QUANTITIES, Quantity, usual_quantity
from ....plots.replay import replay_data
from ....plots.view import View
from ..address import write_query_param

_HERE = Path(__file__).parent
MAP, COLOURS = "map", "colours"  # in the address
FIT, OWN = "fit", "own"


def replay(view: View, *, run: str, step: int, key: str, quantity: Quantity | None = None, fit: bool = False) -> int:
    """Show ``view`` at ``step`` and return the step at which the user stopped.

    ``run`` identifies what is shown: while it is the same, the step is kept when the data changes (another head,
    another rule). The quantity and range of the map, if changed in the player, are in the address, see `map_choice`.
    """
    state = _component()(
        key=key,
        data={**replay_data(view, step=step, quantity=quantity, fit=fit), "run": run},
        default={"step": step, "quantity": None, "fit": None},
        on_step_change=_ignore,
        on_quantity_change=lambda: write_query_param(MAP, st.session_state[key]["quantity"]),
        on_fit_change=lambda: write_query_param(COLOURS, FIT if st.session_state[key]["fit"] else OWN),
    )
    chosen: Any = state.get("step")
    return step if chosen is None else max(0, min(int(chosen), view.steps - 1))


def map_choice(layer: int | None, head: int | None) -> tuple[Quantity, bool]:
    """Return, from the address, the quantity that maps show, and whether their colours fit the view."""
    named = QUANTITIES.get(st.query_params.get(MAP, ""))
    return named or usual_quantity(layer, head), st.query_params.get(COLOURS) == FIT


@cache
def _component() -> Any:
    html, css, js = ((_HERE / f"replay.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return v2.component("sap_studio.replay", html=html, css=css, js=js)


def _ignore() -> None:
    """Do nothing: a state value is only kept if it has a callback."""
