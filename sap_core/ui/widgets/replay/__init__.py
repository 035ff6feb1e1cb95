"""The replay: play, pause, step and scrub through a run in the browser, without a round trip per frame."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from streamlit.components import v2

from ....plots.replay import replay_data
from ....plots.view import View

_HERE = Path(__file__).parent


def replay(view: View, *, run: str, step: int, key: str) -> int:
    """Show ``view`` at ``step`` and return the step at which the user stopped.

    ``run`` identifies what is shown: while it is the same, the step is kept when the data changes (another head,
    another rule).
    """
    state = _component()(
        key=key, data={**replay_data(view, step=step), "run": run}, default={"step": step}, on_step_change=_ignore
    )
    chosen: Any = state.get("step")
    return step if chosen is None else max(0, min(int(chosen), view.steps - 1))


@cache
def _component() -> Any:
    html, css, js = ((_HERE / f"replay.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return v2.component("sap_studio.replay", html=html, css=css, js=js)


def _ignore() -> None:
    """Do nothing: a state value is only kept if it has a callback."""
