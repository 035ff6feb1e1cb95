"""Schemas of a run folder's JSON documents: what does not fit is reported as damage, and not as an error later on.

Only what this package itself reads of a document is typed; everything else in it is preserved.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ..errors import InvalidInput, RunProblem
from ..storage import storage_of, storage_path
from ..untrusted import first_line, parse_json

if TYPE_CHECKING:
    from ..storage.paths import StoragePath

LIMIT = 64 << 20  # bytes of a document; a manifest of 100,000 files has 12 MB
Number = Annotated[float, Field(ge=-1e15, le=1e15, allow_inf_nan=False)] | None


def _inside(name: str) -> str:
    parts = name.split("/")
    if not name or name.startswith("/") or "\\" in name or "\0" in name or {"", ".", ".."} & set(parts):
        raise ValueError(f"{name!r} is no path inside the run")
    return name


def _sha256(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise ValueError("no SHA-256")
    return text


Name = Annotated[str, AfterValidator(_inside)]
Entry = tuple[Annotated[int, Field(ge=0, lt=1 << 60)], Annotated[str, AfterValidator(_sha256)]]
Text = Annotated[str, Field(max_length=1 << 20)]


class Document(BaseModel):
    """Base of all documents: strict about the types it names, open to other fields."""

    model_config = ConfigDict(extra="allow", strict=True)


class SpecDocument(Document):
    """Content of spec.json, the settings; `sap_core.specs.parse_spec` reads all of it when an action is repeated."""

    kind: Text
    model: Text | None = None
    name: Text | None = None
    prompts: list[Text] | None = None
    method: Text | None = None
    methods: list[Text] | None = None
    pattern: Text | None = None
    preset: Text | None = None
    baseline: Text | None = None
    run: Text | None = None
    out: Text | None = None
    folder: Text | None = None
    repo: Text | None = None
    sparsity: Number = None
    budget: Number = None
    target_speedup: Number = None


class ManifestDocument(Document):
    """Content of manifest.json: how the run ended, and every file with its bytes and SHA-256."""

    schema_: int = Field(alias="schema", ge=1, lt=1 << 31)
    kind: Text
    state: Literal["finished", "cancelled", "failed"]
    created: Text = ""
    seconds: Number = None
    versions: dict[str, Any] = {}
    files: dict[Name, Annotated[Entry, Field(strict=False)]]


class MetaDocument(Document):
    """Content of meta.json: what the user gave a run."""

    name: Text = ""
    tags: list[Text] = []
    notes: Text = ""


class WriterDocument(Document):
    """Content of writer.json: who writes the run."""

    created: Text = ""
    host: Text = ""
    pid: int = Field(default=0, ge=0, lt=1 << 31)


class ResultDocument(Document):
    """Content of result.json: the outcome."""

    text: Text | None = None
    texts: list[Text] | dict[str, Any] | None = None  # what a capture wrote, or what a pruning was measured on
    error: Text | None = None
    steps: Number = None
    step_seconds: Number = None
    plan: dict[str, Any] | None = None
    report: dict[str, Any] | None = None
    dense: dict[str, Any] | None = None
    pruned: dict[str, Any] | None = None
    cost: dict[str, Any] | None = None
    difference: dict[str, Any] | None = None
    export: dict[str, Any] | None = None
    files: list[Text] | None = None
    folder: Text | None = None
    code: Text | None = None
    url: Text | None = None
    commit: Text | None = None
    bytes: Number = None


def read_document(path: StoragePath, schema: type[Document]) -> dict[str, Any] | None:
    """Return the document at a path as a plain dict, or None if there is none.

    Raises:
        RunProblem: it can't be read, is no JSON object, or does not fit its schema; the message says which and why.
        OperationFailed: an address that can't be reached.
    """
    content = read_content(path)
    return None if content is None else parse_document(content, schema, storage_path(path).name, _owner(path))


def read_content(path: StoragePath) -> bytes | None:
    """Return the bytes of a document, or None if there is none.

    Raises:
        RunProblem, OperationFailed: as `read_document`.
    """
    path = storage_path(path)
    try:
        return storage_of(path).read(path, LIMIT)
    except (InvalidInput, OSError) as error:
        raise _damaged(_owner(path), path.name, first_line(error, 200).rstrip(".")) from None


def parse_document(content: bytes, schema: type[Document], name: str, owner: str) -> dict[str, Any]:
    """Return a document as a plain dict.

    Args:
        content: Its bytes.
        schema: What it has to fit.
        name: Of the document, for the error.
        owner: What it is part of, for the error: "Run runs/x".

    Raises:
        RunProblem: it is no JSON object, or does not fit its schema.
    """
    try:
        result = parse_json(content, name)
        if not isinstance(result, dict):
            raise InvalidInput(f"{name} holds no JSON object.")
        schema.model_validate(result)
    except ValidationError as error:
        item = error.errors()[0]
        where = ".".join(str(part) for part in item["loc"]) or "document"
        reason = f"{where[:80]} does not fit ({first_line(ValueError(item['msg']), 120)})"
    except InvalidInput as error:
        reason = first_line(error, 200).rstrip(".")
    else:
        return result
    raise _damaged(owner, name, reason)


def _owner(path: StoragePath) -> str:
    return f"Run {storage_path(path).parent}"


def _damaged(owner: str, name: str, reason: str) -> RunProblem:
    return RunProblem(f"{owner} is damaged: its {name} can't be used: {reason}.")
