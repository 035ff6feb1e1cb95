"""The form and the outcome of an export."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import streamlit as st

from ..errors import SapError
from ..runs import RunSummary
from ..runs.paths import runs_root
from ..specs import ExportSpec
from . import results
from .words import moment, plain_error, size

LARGEST_DOWNLOAD = 1 << 30  # a browser download is built in memory; above this the folder itself is the way


def pick_spec(source: RunSummary) -> ExportSpec | None:
    """Where to and how; None while no folder is named."""
    out = st.text_input(
        "Folder to write", str(runs_root().parent / "exports" / source.id.replace("prune", "pruned")),
        key=f"out_{source.id}",
        help="On the machine the studio runs on. It must not exist yet, unless overwriting is allowed.",
    )  # fmt: skip
    left, right = st.columns(2)
    verify = left.toggle(
        "Verify in a fresh process",
        True,
        key="verify",
        help="Loads the folder with stock transformers and compares its outputs.",
    )
    overwrite = right.toggle(
        "Overwrite an existing folder", False, key="overwrite", help="Only replaced once the new one is complete."
    )
    if not out.strip():
        st.info("Name a folder to write to.")
        return None
    return ExportSpec.build(run=str(source.path), out=out.strip(), verify=verify, overwrite=overwrite)


def written(source: RunSummary) -> None:
    """The newest export of this run: its verification, its path, the download, the code to load it."""
    runs = [run for run in results.runs_of("export", states=("finished",)) if _source(run) == str(source.path)]
    if not runs:
        return
    try:
        result = results.run_at(runs[0].path).result
    except SapError as error:
        st.error(plain_error(str(error)))
        return
    folder = Path(result["folder"])
    with st.container(border=True):
        st.markdown(f"**Written** {moment(runs[0].created)} UTC, {size(result['bytes'])}, {len(result['files'])} files")
        st.code(str(folder), language=None)
        verification(result.get("verification"))
        if not folder.is_dir():
            st.warning("The folder is not there any more; write it again.")
            return
        if result["bytes"] <= LARGEST_DOWNLOAD:
            st.download_button(
                "Download as zip", lambda: zipped(folder), f"{folder.name}.zip", "application/zip",
                icon=":material/download:", on_click="ignore",
            )  # fmt: skip
        else:
            st.caption("Too large for a download through the browser; copy the folder.")
    st.subheader("Load it anywhere", anchor=False)
    st.code(result["code"], language="python", wrap_lines=True)


def verification(found: dict[str, Any] | None) -> None:
    """What the fresh process saw, point by point."""
    if found is None:
        st.caption("Not verified: that was switched off.")
        return
    if found.get("equal"):
        st.success(
            f"Verified: loaded in a fresh process ({found.get('loader')}), its outputs equal the pruned model's."
        )
    else:
        st.error("The folder loads in a fresh process, but its outputs differ from the pruned model's; do not use it.")
    st.dataframe(
        [{"what": name.replace("_", " "), "found": _short(value)} for name, value in found.items()],
        hide_index=True,
        alt="Verification of the checkpoint",
    )


def zipped(folder: Path) -> bytes:
    """The folder as a zip; weights do not compress, so nothing is compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, Path(folder.name) / path.relative_to(folder))
    return buffer.getvalue()


def _source(run: RunSummary) -> str:
    return str(results.run_at(run.path).spec.get("run"))


def _short(value: Any) -> str:
    text = ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)
    return text if len(text) <= 120 else text[:117] + "…"
