"""Schemas of a job's JSON documents; a damaged document affects that job alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from ..errors import RunProblem
from ..runs.documents import Document, Text, read_document

Seconds = Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=1 << 53)]


class SpecOfJob(Document):
    """The spec of a job, as far as it is checked here; `sap_core.specs.parse_spec` reads the rest."""

    kind: Text


class JobDocument(Document):
    """Content of job.json."""

    id: Text
    spec: SpecOfJob
    run: Text
    submitted: Seconds


class StateDocument(Document):
    """Content of state.json."""

    state: Literal["queued", "running", "finished", "failed", "cancelled"]
    started: Seconds | None = None
    ended: Seconds | None = None
    error: Text = ""
    run: Text | None = None


class ProgressDocument(Document):
    """Content of progress.json."""

    stage: Text
    done: Count
    total: Count
    message: Text
    data: dict[str, Any]
    stage_from: Count
    stage_seconds: Seconds
    written: Seconds


class ProcessDocument(Document):
    """Content of worker.json and of the entries of clients."""

    pid: Annotated[int, Field(gt=0, lt=1 << 31)]


def read_job_document(path: Path, schema: type[Document]) -> dict[str, Any] | None:
    """Return a document, or None if it does not exist or does not fit the schema."""
    try:
        return read_document(path, schema)
    except RunProblem:
        return None
