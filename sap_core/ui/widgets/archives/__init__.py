"""Archives of runs between the browser and the server's own routes, which neither end holds in memory."""

from __future__ import annotations

from functools import cache
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from streamlit.components import v2

_HERE = Path(__file__).parent


def download_archive(run: str) -> None:
    """Show a link that saves a run of the root as a zip file."""
    _component("download")(key=f"archive_{run}", data={"address": f"archives/{quote(run, safe='')}.zip"})


def upload_archive(*, key: str) -> str | None:
    """Show a field for an archive and a button that imports its run; return the id of the imported run, else None."""
    result = _component("upload")(key=key, data={}, on_brought_change=_ignore)
    brought: Any = result.get("brought")
    return brought if isinstance(brought, str) and brought == PurePath(brought).name else None


@cache
def _component(name: str) -> Any:
    html, js = ((_HERE / f"{name}.{kind}").read_text(encoding="utf-8") for kind in ("html", "js"))
    css = (_HERE / "archives.css").read_text(encoding="utf-8")
    return v2.component(f"sap_studio.archive_{name}", html=html, css=css, js=js)


def _ignore() -> None:
    """Do nothing: a trigger is only sent if it has a callback."""
