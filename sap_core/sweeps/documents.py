"""Schemas of a sweep's JSON documents."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from ..runs.documents import Document, Text

Finite = Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)]
CellId = Annotated[str, Field(pattern=r"^[^/\\\x00.][^/\\\x00]{0,250}$")]


class Cell(Document):
    """One cell of the grid."""

    id: CellId
    spec: dict[str, Any] | None


class SweepDocument(Document):
    """Content of sweep.json."""

    cells: list[Cell]
    skipped: list[dict[str, Any]] = Field(default_factory=list)
    model_files: dict[str, Text] = Field(default_factory=dict)


class Quality(Document):
    """The measures of a cell, text by text."""

    nats: Annotated[list[Finite], Field(min_length=1)]
    counted: Annotated[list[Annotated[Finite, Field(gt=0)]], Field(min_length=1)]
    kind: Text


class CellDocument(Document):
    """Content of cells/ID.json."""

    quality: Quality
    pruning: dict[str, Any]
    seconds: Finite


class FailedDocument(Document):
    """Content of failed/ID.json."""

    id: CellId
    error: Text
