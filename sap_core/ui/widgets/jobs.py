"""Long work seen from a page: submit, watch, cancel. The work itself runs in the worker process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from ...errors import SapError
from ...jobs.client import JobClient
from ...jobs.layout import JobStatus
from ...runs.paths import runs_root
from ...specs import Spec
from .formatting import duration, plain_error

POLL_SECONDS = 0.7


def client() -> JobClient:
    """Return the one client of this server process."""
    return _client(str(runs_root()))


@st.cache_resource(show_spinner=False)
def _client(root: str) -> JobClient:
    return JobClient(root)


def submit(spec: Spec | None, slot: str, *, run_dir: str | None = None) -> str | None:
    """Queue ``spec`` as this session's job ``slot``; when it can't be, say why and return None."""
    if spec is None:  # the form has said why
        return None
    try:
        job = client().submit(spec, run_dir=run_dir)
    except SapError as error:
        st.error(plain_error(str(error)))
        return None
    st.session_state[f"job_{slot}"] = job
    return job


def job_of(slot: str) -> JobStatus | None:
    """This session's job of a slot; None when there is none, or it was tidied away."""
    job = st.session_state.get(f"job_{slot}")
    if job is None:
        return None
    try:
        return client().status(job)
    except SapError:
        forget(slot)
        return None


def forget(slot: str) -> None:
    """Leave the slot empty; the job itself goes on."""
    st.session_state.pop(f"job_{slot}", None)


def watch(slot: str, live: Callable[[JobStatus], None] | None = None) -> JobStatus | None:
    """Show the slot's job while it runs, and return how it stands.

    While it runs only this part of the page is drawn again, a little more than once a second; when it ends the whole
    page is. ``live`` draws below the bar, from the job's last report. A failed job is shown as one line.
    """
    status = job_of(slot)
    if status is None:
        return None
    if status.open:
        _running(slot, live)
    elif status.state == "failed":
        st.error(f"The {status.kind} did not succeed. {plain_error(status.error)}")
    elif status.state == "cancelled":
        kept = "What was done until then is kept." if status.run_path else "Nothing had been written yet."
        st.warning(f"Cancelled. {kept}")
    return status


@st.fragment(run_every=POLL_SECONDS)
def _running(slot: str, live: Callable[[JobStatus], None] | None) -> None:
    status = job_of(slot)
    if status is None or not status.open:
        st.rerun()
        return
    left, right = st.columns([5, 1], vertical_alignment="bottom")
    with left:
        progress_bar(status)
    right.button(
        "Cancel",
        key=f"cancel_{slot}",
        on_click=client().cancel,
        args=(status.id,),
        width="stretch",
        help="Stops after the current step; what was done until then is kept.",
    )
    if live is not None:
        live(status)


def progress_bar(status: JobStatus) -> None:
    """Stage, unit count, speed and time left of a job."""
    st.progress(progress_share(status), text=progress_text(status))


def progress_share(status: JobStatus) -> float:
    """Done share of the present stage, 0 to 1."""
    report = status.progress
    return min(1.0, report.done / report.total) if report and report.total else 0.0


def progress_text(status: JobStatus) -> str:
    """'Denoising: step 12 of 64 · 8.1 per second · 6 s left'."""
    report = status.progress
    if status.state == "queued":
        return f"Waiting, {status.ahead} before it" if status.ahead else "Waiting for the worker to start"
    if report is None:
        return "Loading the model"
    stage = plain_error(report.message or report.stage)
    parts = [f"{stage}: {report.done} of {report.total}"]
    pace: Any = report.data.get("step_seconds")
    if pace:
        parts.append(f"{1 / pace:.1f} per second")
    if status.remaining is not None:
        parts.append(f"{duration(status.remaining)} left")
    return " · ".join(parts)


def open_jobs() -> list[JobStatus]:
    """Jobs of anybody that wait or run, oldest first."""
    return [job for job in reversed(client().jobs(limit=20)) if job.open]
