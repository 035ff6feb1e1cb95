"""Where an interrupted capture stands: the file resume.json of its run, with which it goes on bit for bit.

Beside the trajectory a continuation needs the canvas, the state of the random numbers, what the sampler remembers, and
what measures errors over the steps. The file is written after the steps it counts; steps behind it are made again.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ..errors import RunProblem
from ..runs.documents import Document, read_document
from ..runs.files import write_json
from ..runs.manifest import CHECKPOINT, versions

if TYPE_CHECKING:
    from ..storage.paths import StoragePath

SCHEMA = 1
Count = Annotated[int, Field(ge=0, lt=1 << 31)]
Real = Annotated[float, Field(allow_inf_nan=False, strict=False)]


class ArrayDocument(Document):
    """An array: its dtype, shape, and bytes in base64."""

    dtype: str
    shape: list[Count]
    bytes: str


class MemoryDocument(Document):
    """What samplers remember, see `sap_core.samplers.step.Step`."""

    block: int | None = None
    step: int | None = None
    start: list[Count] | None = None
    after: Count | None = None
    over: bool | None = None
    doubt: ArrayDocument | None = None


class CheckpointDocument(Document):
    """resume.json."""

    schema_: int = Field(alias="schema", ge=SCHEMA, le=SCHEMA)
    steps: Annotated[int, Field(ge=1, lt=1 << 31)]
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    tokens: ArrayDocument
    blank: ArrayDocument
    generator: ArrayDocument
    memory: MemoryDocument
    pieces: dict[str, str]
    code_errors: list[list[Real]]
    query_errors: dict[str, Any] | None
    model: dict[str, str]
    versions: dict[str, str]


@dataclass(frozen=True)
class Checkpoint:
    """A capture after ``steps`` steps.

    Attributes:
        seconds: Time they took.
        tokens, blank: (batch, sequence), the canvas, and where it is not written yet.
        generator: State of the source of random numbers.
        memory: What the sampler remembers.
        pieces: Texts of the tokens so far.
        code_errors: What measured the error of 8-bit storage, of each sample.
        query_errors: What measured the error of query sampling.
        model: Fingerprints of the model's files.
        versions: Versions of the packages.
    """

    steps: int
    seconds: float
    tokens: Tensor
    blank: Tensor
    generator: Tensor
    memory: dict[str, Any]
    pieces: dict[str, str]
    code_errors: list[list[float]]
    query_errors: dict[str, Any] | None
    model: dict[str, str]
    versions: dict[str, str]


def write_checkpoint(run: StoragePath, **fields: Any) -> None:
    """Write resume.json in one step; ``fields``: those of `Checkpoint` but the versions."""
    fields["memory"] = {key: _coded(value) for key, value in fields["memory"].items()}
    document = {"schema": SCHEMA, "versions": versions()} | {key: _coded(value) for key, value in fields.items()}
    write_json(run / CHECKPOINT, document)


def read_checkpoint(run: StoragePath) -> Checkpoint | None:
    """Return where a capture stands; None where it has no complete step, or its sampler begins again.

    Raises:
        RunProblem: the file is damaged.
    """
    found = read_document(run / CHECKPOINT, CheckpointDocument)
    if found is None:
        return None
    memory = {key: value for key, value in found["memory"].items() if value is not None}
    try:
        if "doubt" in memory:
            memory["doubt"] = _array(memory["doubt"])
        arrays = {name: _array(found[name]) for name in ("tokens", "blank", "generator")}
    except (ValueError, TypeError):
        raise damaged(run) from None
    known: dict[str, Any] = {name: found[name] for name in Checkpoint.__dataclass_fields__ if name not in arrays}
    known |= arrays
    known["memory"] = memory
    return Checkpoint(**known)


def damaged(run: StoragePath) -> RunProblem:
    """Return the error for a file that fits its schema but not its run."""
    return RunProblem(f"{run / CHECKPOINT} does not belong to this run or is damaged; capture it anew.")


def _coded(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    array = value.cpu().contiguous().numpy()
    return {
        "dtype": str(array.dtype),
        "shape": list(array.shape),
        "bytes": base64.b64encode(array.tobytes()).decode("ascii"),
    }


def _array(document: dict[str, Any]) -> Tensor:
    if document["dtype"] not in ("int64", "bool", "float32", "float16", "float64", "uint8"):
        raise ValueError(document["dtype"])
    content = bytearray(base64.b64decode(document["bytes"], validate=True))
    return torch.from_numpy(np.frombuffer(content, document["dtype"]).reshape(document["shape"]))
