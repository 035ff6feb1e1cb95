"""The replay: play, pause, step and scrub through a run in the browser, without a round trip per frame."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.components import v2

from ....plots.replay import replay_data
from ....plots.view import View
from ..address import choose

_HERE = Path(__file__).parent


def replay(view: View, *, run: str, step: int, key: str) -> None:
    """Show ``view`` at ``step``; where the user stops becomes the step of the address.

    ``run`` identifies what is shown: while it is the same, the step is kept when the data changes (another head,
    another rule).
    """

    def moved() -> None:
        chosen: Any = st.session_state[key].get("step")
        if chosen is not None:
            choose("step", max(0, min(int(chosen), view.steps - 1)))

    _component()(key=key, data={**replay_data(view, step=step), "run": run, "told": step}, on_step_change=moved)


@cache
def _component() -> Any:
    html, css, js = ((_HERE / f"replay.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return v2.component("sap_studio.replay", html=html, css=css, js=js)
