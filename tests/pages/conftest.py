"""What the pages' tests share: a root for runs, a job client without a worker, and pages run alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from sap_core.jobs.layout import JobStatus
from sap_core.progress import Progress

PAGES = Path(__file__).parents[2] / "pages"


class FakeClient:
    """Takes jobs and never does them; a test says how they stand."""

    def __init__(self) -> None:
        self.submitted: list = []
        self.resumed: list[str] = []
        self.statuses: dict[str, JobStatus] = {}
        self.cancelled: list[str] = []

    def submit(self, spec, *, run_dir=None, resume=False) -> str:
        self.submitted.append(spec)
        self.resumed += [run_dir] if resume else []
        return self.put(spec)

    def put(
        self, spec, state: str = "queued", *, run_path=None, error: str = "", progress: Progress | None = None
    ) -> str:
        """A job that stands as given; its id."""
        job = f"job-{len(self.statuses)}"
        now = time.time()
        document = spec.model_dump(mode="json")
        self.statuses[job] = JobStatus(job, spec.kind, state, document, progress, run_path, error, now, now, None)
        return job

    def status(self, job: str) -> JobStatus:
        return self.statuses[job]

    def cancel(self, job: str) -> None:
        self.cancelled.append(job)

    def open_jobs(self) -> list[JobStatus]:
        return [status for status in self.statuses.values() if status.open]

    def jobs(self, limit: int = 50) -> list[JobStatus]:
        return list(self.statuses.values())


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty root for runs, seen by the pages as theirs."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("SAP_RUNS", str(folder))
    st.cache_data.clear()
    st.cache_resource.clear()
    return folder


@pytest.fixture
def jobs(root: Path, monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    """The studio's job client, replaced."""
    fake = FakeClient()
    monkeypatch.setattr("sap_core.ui.widgets.jobs.client", lambda: fake)
    monkeypatch.setattr("sap_core.ui.widgets.layout.client", lambda: fake)
    return fake


@pytest.fixture
def page(jobs: FakeClient) -> Callable[..., AppTest]:
    """``page("sinks", run="…")``: the page run once with that address; fails on any exception."""

    def run(name: str, state: dict | None = None, **address: str) -> AppTest:
        at = AppTest.from_file(str(PAGES / f"{name}.py"), default_timeout=60)
        for key, value in address.items():
            at.query_params[key] = str(value)
        for key, value in (state or {}).items():
            at.session_state[key] = value
        at.run()
        assert not at.exception, at.exception
        return at

    return run
