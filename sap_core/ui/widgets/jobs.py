"""Jobs on a page: submit, watch, cancel. The work itself runs in the worker process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import streamlit as st

from ...errors import SapError
from ...jobs.client import JobClient
from ...jobs.layout import JobStatus
from ...runs.paths import runs_root
from ...runs.reading import default_name
from ...specs import Spec
from .formatting import duration, plain_text

POLL_SECONDS = 0.7


def client() -> JobClient:
    """Return the job client of this server process."""
    return _client(str(runs_root()))


@st.cache_resource(show_spinner=False)
def _client(root: str) -> JobClient:
    return JobClient(root)


def submit(spec: Spec | None, slot: str, *, run_dir: str | None = None, resume: bool = False) -> str | None:
    """Queue ``spec`` as this session's job ``slot``; if that fails, show the reason and return None.

    ``run_dir``, ``resume``: as `JobClient.submit` takes them.
    """
    if spec is None:  # the form has said why
        return None
    try:
        job = client().submit(spec, run_dir=run_dir, resume=resume)
    except SapError as error:
        st.error(plain_text(str(error)))
        return None
    st.session_state[f"job_{slot}"] = job
    return job


def job_of(slot: str) -> JobStatus | None:
    """Return this session's job of a slot; None if there is none, or it was cleaned up."""
    job = st.session_state.get(f"job_{slot}")
    if job is None:
        return None
    try:
        return client().status(job)
    except SapError:
        forget(slot)
        return None


def forget(slot: str) -> None:
    """Empty the slot; the job itself continues."""
    st.session_state.pop(f"job_{slot}", None)


def watch(slot: str, live: Callable[[JobStatus], None] | None = None) -> JobStatus | None:
    """Show the slot's job while it runs, and return its status.

    While it runs only this part of the page is redrawn, a little more than once a second; when it ends the whole page
    is. ``live`` draws below the bar, from the job's last report. A failed job is shown as one line.
    """
    status = job_of(slot)
    if status is None:
        return None
    if status.open:
        _running(slot, live)
    elif status.state == "failed":
        st.error(f"The {status.kind} did not succeed. {plain_text(status.error)}")
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
    """Show stage, unit count, speed and remaining time of a job."""
    st.progress(progress_share(status), text=progress_text(status))


def progress_share(status: JobStatus) -> float:
    """Return the finished fraction of the current stage, 0 to 1."""
    report = status.progress
    return min(1.0, report.done / report.total) if report and report.total else 0.0


def progress_text(status: JobStatus) -> str:
    """Return the progress as text: 'Denoising: step 12 of 64 · 8.1 per second · 6 s left'."""
    report = status.progress
    if status.state == "queued":
        if not status.ahead:
            return "Waiting for the worker to start"
        names = [_kind(job) for job in status.before[:3]]
        more = f" and {status.ahead - 3} more" if status.ahead > 3 else ""
        return f"Waiting, {status.ahead} before it: {', '.join(names)}{more}"
    if report is None:
        return "Loading the model"
    stage = plain_text(report.message or report.stage)
    parts = [f"{stage}: {report.done} of {report.total}"]
    pace: Any = report.data.get("step_seconds")
    if pace:
        parts.append(f"{1 / pace:.1f} per second")
    if status.remaining is not None:
        parts.append(f"{duration(status.remaining)} left")
    return " · ".join(parts)


def title(status: JobStatus) -> str:
    """Return what a job is: its kind, and the name that its run will have."""
    return plain_text(f"{status.kind.replace('_', ' ').capitalize()}: {default_name(status.spec)}"[:90])


def _kind(job_id: str) -> str:
    try:
        return client().status(job_id).kind.replace("_", " ")
    except SapError:  # tidied away just now
        return "one that ended"


def move(job_id: str, to: int) -> None:
    """Put a waiting job elsewhere in its queue; one that was begun meanwhile stays."""
    with contextlib.suppress(SapError):
        client().move(job_id, to)


def open_jobs() -> list[JobStatus]:
    """Return the jobs of all sessions that run or wait, in the order in which they run, lane by lane."""
    return client().open_jobs()
