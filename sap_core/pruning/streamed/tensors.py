"""Read the tensors of a checkpoint one at a time, and write them in place into files created before.

Plain reads and writes are used instead of memory maps: mapped pages count as the process's memory until they are
released, and the purpose is a bound on it. The system's cache makes a second read as fast as a map would be.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import ModelProblem
from ...models.headers import DTYPES, StoredTensor, read_header, read_headers

CODES = {name: code for code, (name, _) in DTYPES.items()}
PIECE = 32 << 20  # bytes held while tensors are copied, hashed or counted


@dataclass(frozen=True)
class Place:
    """Location of a tensor's bytes: its file, and the offset of the first byte."""

    tensor: StoredTensor
    path: Path
    start: int

    @property
    def dtype(self) -> torch.dtype:
        """The tensor's torch dtype."""
        return getattr(torch, self.tensor.dtype)


class StoredWeights:
    """The tensors of a checkpoint folder, by their stored names, in stored order. Safe to read from two threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tensors = read_headers(folder)
        for tensor in self.tensors:
            if not hasattr(torch, tensor.dtype):
                raise ModelProblem(
                    f"{folder}: torch {torch.__version__} has no {tensor.dtype}, of which {tensor.key} is."
                )
        self.places = {t.key: Place(t, folder / t.file, t.start or 0) for t in self.tensors}

    def read(self, key: str) -> Tensor:
        """Return one whole tensor, in its stored precision, on the CPU."""
        stored = self.places[key]
        result = torch.empty(stored.tensor.shape, dtype=stored.dtype)
        with stored.path.open("rb", buffering=0) as file:
            read_into(file, stored.start, result)
        return result

    def rows(self, key: str, numbers: Sequence[int]) -> Tensor:
        """Return some rows of a matrix, [len(numbers), columns]; adjacent rows are read together."""
        stored = self.places[key]
        result = torch.empty((len(numbers), *stored.tensor.shape[1:]), dtype=stored.dtype)
        width = stored.dtype.itemsize * result[0].numel()
        first = 0
        with stored.path.open("rb", buffering=0) as file:
            for here in range(1, len(numbers) + 1):
                if here == len(numbers) or numbers[here] != numbers[here - 1] + 1:
                    read_into(file, stored.start + numbers[first] * width, result[first:here])
                    first = here
        return result

    def pieces(self, key: str) -> Iterator[Tensor]:
        """Yield a tensor from its first number to its last, in flat parts of at most `PIECE` bytes."""
        stored = self.places[key]
        size = stored.dtype.itemsize
        at_once = PIECE // size
        with stored.path.open("rb", buffering=0) as file:
            for first in range(0, stored.tensor.numel, at_once):
                chunk = torch.empty(min(at_once, stored.tensor.numel - first), dtype=stored.dtype)
                read_into(file, stored.start + first * size, chunk)
                yield chunk


class WeightsWriter:
    """Weights files with the names, order and metadata of ``source``, filled tensor by tensor in any order.

    ``dtype``: of every floating-point tensor; values are converted to it. Writing a tensor again replaces it.
    """

    def __init__(self, source: StoredWeights, folder: Path, dtype: torch.dtype) -> None:
        self.source, self.folder = source, folder
        self._layout: dict[str, tuple[Path, int, torch.dtype]] = {}
        self._heads: dict[Path, tuple[bytes, int]] = {}
        self._changed: set[Path] = set()
        files: dict[str, list[Place]] = {}
        for stored in sorted(source.places.values(), key=lambda stored: (stored.tensor.file, stored.start)):
            files.setdefault(stored.tensor.file, []).append(stored)
        for name, stored_all in files.items():
            self._lay_out(folder / name, stored_all, dtype)

    @property
    def total(self) -> int:
        """Bytes of all tensors."""
        return sum(size for _, size in self._heads.values())

    def create(self) -> None:
        """Create the files at their full size, without content."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path, (head, size) in self._heads.items():
            with path.open("wb") as file:
                file.write(head)
                file.truncate(len(head) + size)
            self._changed.add(path)

    def write(self, key: str, value: Tensor) -> None:
        """Write one tensor under its stored name."""
        path, start, dtype = self._layout[key]
        with path.open("r+b", buffering=0) as file:
            write_from(file, start, value.detach().to("cpu", dtype).contiguous())
        self._changed.add(path)

    def copy(self, key: str) -> None:
        """Copy one tensor from the source unchanged."""
        path, start, dtype = self._layout[key]
        with path.open("r+b", buffering=0) as file:
            for chunk in self.source.pieces(key):
                write_from(file, start, chunk.to(dtype))
                start += chunk.numel() * dtype.itemsize
        self._changed.add(path)

    def sync(self) -> None:
        """Wait until everything written is on the disk."""
        for path in self._changed:
            with path.open("r+b") as file:
                os.fsync(file.fileno())
        self._changed.clear()

    def _lay_out(self, path: Path, stored_all: list[Place], dtype: torch.dtype) -> None:
        entries: dict[str, object] = {}
        metadata = read_header(self.source.folder, stored_all[0].tensor.file)[1]
        if metadata:
            entries["__metadata__"] = metadata
        at = 0
        starts = {}
        for stored in stored_all:
            kind = dtype if stored.dtype.is_floating_point else stored.dtype
            end = at + stored.tensor.numel * kind.itemsize
            entries[stored.tensor.key] = {
                "dtype": CODES[str(kind).removeprefix("torch.")],
                "shape": list(stored.tensor.shape),
                "data_offsets": [at, end],
            }
            starts[stored.tensor.key] = at, kind
            at = end
        text = json.dumps(entries, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        head = struct.pack("<Q", len(text)) + text
        self._heads[path] = head, at
        self._layout |= {key: (path, len(head) + start, kind) for key, (start, kind) in starts.items()}


def read_into(file: Any, start: int, target: Tensor) -> None:
    """Fill a contiguous CPU tensor with the bytes from ``start`` on.

    Raises:
        OSError: the file ends before.
    """
    view = memoryview(_bytes_of(target))
    file.seek(start)
    done = 0
    while done < len(view):
        count = file.readinto(view[done:])
        if not count:
            raise OSError(f"{file.name} ends at byte {start + done}, {len(view) - done} bytes early")
        done += count


def write_from(file: Any, start: int, source: Tensor) -> None:
    """Write the bytes of a contiguous CPU tensor from ``start`` on."""
    view = memoryview(_bytes_of(source))
    file.seek(start)
    done = 0
    while done < len(view):
        done += file.write(view[done:])


def _bytes_of(value: Tensor) -> Any:
    """Return the memory of a tensor as numpy bytes."""
    return value.reshape(-1).view(torch.uint8).numpy()
