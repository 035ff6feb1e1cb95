"""Verify a written checkpoint with the Python code that its publisher ships, after consent."""

from __future__ import annotations

import hashlib
from pathlib import Path

import streamlit as st

from ...errors import SapError
from ...models.code_files import code_files
from ...specs import VerifySpec
from ..widgets import jobs
from ..widgets.formatting import plain_text
from ..widgets.results import run_at

SLOT = "verify"


def original_code_panel(folder: Path) -> None:
    """Show the code that ``folder`` brings, the consent to run it, and the comparison; nothing where it brings none."""
    try:
        code = code_files(folder)
    except SapError as error:
        st.error(plain_text(str(error)))
        return
    if not code:
        return
    with st.expander("Verify with the original code"):
        st.caption(
            "The publisher's Python code in this folder computes the logits, in a fresh process; they are compared "
            "with the pruned model's. It can do whatever you can do on the machine of the studio. Read it first."
        )
        for name in code.here:
            content = (folder / name).read_bytes()
            st.text(f"{name} (sha256 {hashlib.sha256(content).hexdigest()[:12]})")
            st.code(content.decode("utf-8", "replace"), language="python", height=200)
        trusted = st.checkbox("I have read this code and trust it", key=f"trust_{folder}")
        busy = (status := jobs.job_of(SLOT)) is not None and status.open
        spec = VerifySpec.build(folder=str(folder), original_code=True, trust_remote_code=trusted)
        if st.button("Run the code and compare", disabled=busy or not trusted, icon=":material/rule:"):
            if jobs.submit(spec, SLOT):
                st.rerun()
        st.code(f"sap verify {folder} --original-code --trust-remote-code", language="sh")
        status = jobs.watch(SLOT)
        if status is None or status.state != "finished" or status.run_path is None:
            return
        run = run_at(status.run_path)
        if run.spec["folder"] != str(folder):
            return
        found = run.result
        numbers = f"largest difference {found['max_difference']:.2g}, allowed {found['tolerance']:.2g}"
        name = plain_text(str(found["class"]))
        if found["equal"]:
            st.success(f"The original code ({name}) gives the pruned model's logits: {numbers}.")
        else:
            st.error(f"The original code ({name}) gives OTHER logits than the pruned model: {numbers}.")
