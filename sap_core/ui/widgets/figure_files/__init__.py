"""PNG and SVG of a figure on the page, made by the browser."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from streamlit.components import v2

_HERE = Path(__file__).parent


def picture_buttons(name: str, about: dict[str, Any], *, of: str, scale: float = 2) -> None:
    """Show buttons that save the plotly figure in the container with key ``of``, with ``about`` written in.

    ``scale``: pixels of the PNG for each CSS pixel.
    """
    data = {"name": name, "about": json.dumps(about, default=str), "of": of, "scale": scale}
    _component()(key=f"pictures_{of}", data=data, width="content")


@cache
def _component() -> Any:
    html, css, js = ((_HERE / f"take.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    return v2.component("sap_studio.take", html=html, css=css, js=js)
