"""The form and the result of an export."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import streamlit as st

from ...byte_size import format_bytes
from ...errors import SapError
from ...jobs.layout import JobStatus
from ...runs.listing import RunSummary
from ...runs.paths import runs_root
from ...specs import ExportSpec, PushSpec
from ...storage import storage_of
from ..widgets import jobs, results, snippets
from ..widgets.formatting import format_time, plain_text
from ..widgets.layout import show_snippets
from .original_code import original_code_panel

LARGEST_DOWNLOAD = 1 << 30  # a browser download is built in memory; above this the folder itself is the way


def pick_spec(source: RunSummary) -> ExportSpec | None:
    """Show the form and return its spec; None while no folder is named."""
    near = Path.cwd() if storage_of(runs_root()).remote else runs_root().parent
    out = st.text_input(
        "Folder to write", str(near / "exports" / source.id.replace("prune", "pruned")),
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


def live(status: JobStatus) -> None:
    """Show the steps of an export as they are finished."""
    report = status.progress
    writing = report is not None and report.stage == "export"
    done = report.done if writing and report else -1
    steps = ["Pruned again from the run, if the worker let go of the weights", "Weights, tokenizer, config and card"]
    if status.spec.get("verify", True):
        steps.append("Loaded in a fresh process, outputs compared")
    steps.append("Put in its place")
    for number, text in enumerate(steps):
        icon = "check_circle" if number <= done else "pending" if number == done + 1 else "radio_button_unchecked"
        st.markdown(f":material/{icon}: {text}")


def written(source: RunSummary) -> None:
    """Show the newest export of this run: verification, path, download, code to load it, and upload to the Hub."""
    runs = [run for run in results.runs_of("export", states=("finished",)) if _source(run) == str(source.path)]
    if not runs:
        return
    try:
        result = results.run_at(runs[0].path).result
    except SapError as error:
        st.error(plain_text(str(error)))
        return
    folder = Path(result["folder"])
    with st.container(border=True):
        st.markdown(
            f"**Written** {format_time(runs[0].created)} UTC, {format_bytes(result['bytes'])}, "
            f"{len(result['files'])} files"
        )
        st.code(str(folder), language=None)
        verification(result)
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
        original_code_panel(folder)
    st.subheader("Load it anywhere", anchor=False)
    st.code(result["code"], language="python", wrap_lines=True)
    to_the_hub(folder)


def verification(result: dict[str, Any]) -> None:
    """Show each verification step with its result."""
    found = result.get("verification")
    if found is None:
        st.caption("Not verified: that was switched off.")
        return
    if found.get("equal"):
        st.success(
            f"Verified: loaded in a fresh process ({plain_text(found.get('loader'))}), its outputs equal the pruned "
            "model's."
        )
    else:
        st.error("The folder loads in a fresh process, but its outputs differ from the pruned model's; do not use it.")
    versions = found.get("versions") or {}
    steps = [
        (True, "Written", f"{len(result['files'])} files, {format_bytes(result['bytes'])}"),
        (True, "Loaded in a fresh process", ", ".join(f"{name} {value}" for name, value in versions.items())
         or str(found.get("loader"))),
        (bool(found.get("class")), "Model class", str(found.get("class") or "not told")),
        (bool(found.get("tokenizer")), "Tokenizer", str(found.get("tokenizer") or "none beside the model")),
        (bool(found.get("equal")), "Logits compared",
         f"on {found.get('tokens_checked', '?')} tokens: largest difference {found.get('max_difference', 0):.2g}, "
         f"allowed {found.get('tolerance', 0):.2g}"),
    ]  # fmt: skip
    for good, what, value in steps:
        icon = "check_circle" if good else "do_not_disturb_on"
        st.markdown(f":material/{icon}: **{what}**: {plain_text(value)}")


def to_the_hub(folder: Path) -> None:
    """Show the upload of the folder to the Hub. The token is read in the worker, from its environment."""
    st.subheader("Push to the Hub", anchor=False)
    left, middle, right = st.columns([3, 2, 1], vertical_alignment="bottom")
    repo = left.text_input(
        "Repository", key="push_repo", placeholder="NAME/MODEL", help="Made if it is not there; one commit."
    ).strip()
    revision = middle.text_input("Branch", key="push_revision", placeholder="main", help="Made if it is not there.")
    private = right.toggle("Private", True, key="push_private", help="For a repository that is made now.")
    if not has_token():
        st.caption(
            "No token here: start the studio with HF_TOKEN set, or log in with `hf auth login`. It is read when the "
            "push begins, and neither stored nor shown."
        )
    spec = None
    if repo:
        try:
            spec = PushSpec.build(folder=str(folder), repo=repo, private=private, revision=revision.strip() or None)
        except SapError as error:
            st.error(plain_text(str(error)))
    busy = (status := jobs.job_of("push")) is not None and status.open
    if st.button("Push", disabled=spec is None or busy or not has_token(), icon=":material/cloud_upload:"):
        if jobs.submit(spec, "push"):
            st.rerun()
    status = jobs.watch("push")
    if status is not None and status.state == "finished" and status.run_path is not None:
        result = results.run_at(status.run_path).result
        st.success(f"On the Hub: {len(result['files'])} files, commit {plain_text(result['commit'][:10])}.")
        st.code(result["url"], language=None)
    if spec is not None:
        show_snippets(*snippets.snippets_of(spec))


def has_token() -> bool:
    """Return whether the Hub's client would find a token, without reading it."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    file = Path(os.environ.get("HF_TOKEN_PATH") or home / "token")
    return any(os.environ.get(name) for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")) or file.is_file()


def zipped(folder: Path) -> bytes:
    """Return the folder as an uncompressed zip, since weights do not compress."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, Path(folder.name) / path.relative_to(folder))
    return buffer.getvalue()


def _source(run: RunSummary) -> str:
    return str(results.run_at(run.path).spec.get("run"))
