"""Names, shapes, dtypes and offsets of stored tensors, from the headers of safetensors files alone. No torch.

This is the only reader of headers: all code that reads weights, whole or block by block, uses it. A file is accepted
only if its tensors fill it from the first byte after the header to the last, without overlap or gap, each with exactly
the bytes of its shape and dtype. Format: https://huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ..errors import ModelProblem
from ..untrusted import MIB, check_path, foreign, is_file, parse_json, read_json, shown

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
HEADER_LIMIT = 32 * MIB  # some 200,000 tensors; the format itself allows 100 MB
INDEX_LIMIT = 64 * MIB
MOST_DIMENSIONS = 16
# Name in a header -> (name in torch, bits of one number).
DTYPES = {
    "F64": ("float64", 64),
    "F32": ("float32", 32),
    "F16": ("float16", 16),
    "BF16": ("bfloat16", 16),
    "F8_E4M3": ("float8_e4m3fn", 8),
    "F8_E5M2": ("float8_e5m2", 8),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", 8),
    "F8_E5M2FNUZ": ("float8_e5m2fnuz", 8),
    "F8_E8M0": ("float8_e8m0fnu", 8),
    "F6_E2M3": ("float6_e2m3", 6),
    "F6_E3M2": ("float6_e3m2", 6),
    "F4": ("float4_e2m1fn", 4),
    "C64": ("complex64", 64),
    "I64": ("int64", 64),
    "I32": ("int32", 32),
    "I16": ("int16", 16),
    "I8": ("int8", 8),
    "U64": ("uint64", 64),
    "U32": ("uint32", 32),
    "U16": ("uint16", 16),
    "U8": ("uint8", 8),
    "BOOL": ("bool", 8),
}
_BITS = dict(DTYPES.values())


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a safetensors file; ``start``: offset of its first byte in the file, None if unknown."""

    key: str
    shape: tuple[int, ...]
    dtype: str
    file: str
    start: int | None = None

    @property
    def numel(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return -(-self.numel * _BITS.get(self.dtype, 8) // 8)


def read_headers(folder: Path) -> tuple[StoredTensor, ...]:
    """Return every tensor of a checkpoint folder, single file or sharded, in stored order.

    Raises:
        ModelProblem: no weights, only pickled weights, a missing shard, a header that does not describe its file, a
            tensor that two files hold, or an index that names files outside the folder.
    """
    if is_file(folder / SINGLE):
        return read_header(folder, SINGLE)[0]
    if os.path.lexists(folder / INDEX):
        return _read_shards(folder)
    raise _no_weights(folder)


def _read_shards(folder: Path) -> tuple[StoredTensor, ...]:
    """Return the tensors of all shards, after checking that index and shards say the same."""
    index = weight_map(folder)
    files: dict[str, str] = {}
    tensors: list[StoredTensor] = []
    for name in sorted(set(index.values())):
        for tensor in read_header(folder, name)[0]:
            if tensor.key in files:
                first = files[tensor.key]
                raise ModelProblem(f"{folder} has {shown(tensor.key)} both in {first} and in {name}; keep one.")
            files[tensor.key] = name
            tensors.append(tensor)
    for key, name in index.items():
        if files.get(key) != name:
            where = f" in {name} but {files[key]} holds it" if key in files else ", which no file holds"
            raise ModelProblem(f"{folder / INDEX} names {shown(key)}{where}; download it again.")
    return tuple(tensors)


def _no_weights(folder: Path) -> ModelProblem:
    """Return the error for a folder without a file of weights that can be read: what is there in their place."""
    pickled = sorted(path.name for pattern in PICKLED for path in folder.glob(pattern))
    if pickled:
        return ModelProblem(
            f"{folder} has only pickled weights ({pickled[0]}), which can run code when opened; "
            "convert them to safetensors (model.save_pretrained) and try again."
        )
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    if others:
        return ModelProblem(
            f"{folder} has {others[0]}, but neither {SINGLE} nor {INDEX}, by which weights are found: rename a single "
            "file of transformers' format, or download the missing index."
        )
    if next(folder.glob("*.gguf"), None) is not None:
        return ModelProblem(f"{folder} has GGUF weights, which can't be read here; expected {SINGLE} or {INDEX}.")
    return ModelProblem(f"{folder} has no weights; expected {SINGLE} or {INDEX} with its shards.")


def weight_map(folder: Path) -> dict[str, str]:
    """Return tensor name -> file name of a sharded checkpoint, after checking that every file is in the folder.

    Raises:
        ModelProblem: the index can't be read, a file is missing, or a name leads out of the folder.
    """
    index = read_json(folder / INDEX, "index of weights", limit=INDEX_LIMIT, problem=ModelProblem).get("weight_map")
    if not isinstance(index, dict) or not index:
        raise ModelProblem(f"{folder / INDEX} is not an index of weights; download it again.")
    checked = set()
    for name in index.values():
        if not isinstance(name, str):
            raise ModelProblem(f"{folder / INDEX} is not an index of weights: it names {shown(name)} as a file.")
        if name in checked:
            continue
        checked.add(name)
        check_path(name, f"{folder / INDEX}: the weights file", ModelProblem)
        if not _inside(name):
            raise ModelProblem(f"{folder / INDEX} names {shown(name)}, a file outside the model folder; refused.")
        if not is_file(folder / name):
            raise ModelProblem(f"{folder} lacks the weights file {name} that its index names; download it again.")
    return index


def read_header(folder: Path, name: str) -> tuple[tuple[StoredTensor, ...], dict[str, str]]:
    """Return (the tensors of one safetensors file in the order of their bytes, its metadata).

    Raises:
        ModelProblem: the header can't be read, or does not describe the file to the last byte.
    """
    path = folder / name
    with foreign(f"{path} can't be read", "; check the file and its permissions", problem=ModelProblem):
        size = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
            if not 2 <= length <= size - 8:
                raise ModelProblem(f"{path} is not a safetensors file or its header is damaged; download it again.")
            if length > HEADER_LIMIT:
                raise ModelProblem(f"{path} has a header of {length} bytes; at most {HEADER_LIMIT} are read.")
            raw = file.read(length)
    entries = parse_json(raw, f"{path} has a damaged safetensors header: it", problem=ModelProblem)
    if not isinstance(entries, dict):
        raise ModelProblem(f"{path} has a damaged safetensors header: it holds no JSON object; download it again.")
    metadata = _metadata(path, entries.pop("__metadata__", None))
    placed = sorted((_entry(path, name, key, entry) for key, entry in entries.items()), key=lambda pair: pair[1])
    return _fill(path, [tensor for tensor, _ in placed], [span for _, span in placed], 8 + length, size), metadata


def _entry(path: Path, file: str, key: str, entry: Any) -> tuple[StoredTensor, tuple[int, int]]:
    """Return one tensor and its span of bytes after the header."""

    def wrong(what: str) -> ModelProblem:
        return ModelProblem(f"{path} has a damaged safetensors header: {shown(key)} {what}; download it again.")

    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise wrong("needs dtype, shape and data_offsets and nothing else")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise wrong(f"has dtype {shown(dtype)}, which the format does not know")
    if not _naturals(shape) or len(shape) > MOST_DIMENSIONS:
        raise wrong(f"has shape {shown(shape)}; expected at most {MOST_DIMENSIONS} whole numbers from 0")
    if not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise wrong(f"has data_offsets {shown(offsets)}; expected [first, end] from 0 upwards")
    bits = prod(shape) * DTYPES[dtype][1]
    if bits != 8 * (offsets[1] - offsets[0]):
        raise wrong(f"has {offsets[1] - offsets[0]} bytes where shape {shown(shape)} of {dtype} takes {bits / 8:.10g}")
    return StoredTensor(key, tuple(shape), DTYPES[dtype][0], file), (offsets[0], offsets[1])


def _fill(
    path: Path, tensors: list[StoredTensor], spans: list[tuple[int, int]], first: int, size: int
) -> tuple[StoredTensor, ...]:
    """Return the tensors with their offsets, after checking that they fill the file without overlap or gap."""
    end, placed = 0, []
    for tensor, (start, stop) in zip(tensors, spans, strict=True):
        if start != end:
            what = "overlaps the tensor before it" if start < end else f"leaves a hole of {start - end} bytes before it"
            raise ModelProblem(
                f"{path} has a damaged safetensors header: {shown(tensor.key)} {what}; download it again."
            )
        placed.append(StoredTensor(tensor.key, tensor.shape, tensor.dtype, tensor.file, first + start))
        end = stop
    if first + end != size:
        raise ModelProblem(f"{path} has {size} bytes where its header promises {first + end}; download it again.")
    if not placed:
        raise ModelProblem(f"{path} holds no tensor; download it again.")
    return tuple(placed)


def _metadata(path: Path, found: Any) -> dict[str, str]:
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ModelProblem(f"{path} has a damaged safetensors header: __metadata__ is no text by name.")
    return found


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int and 0 <= number < 1 << 63 for number in value)


def _inside(name: str) -> bool:
    """Return whether a name is a plain relative path to a safetensors file, on any system."""
    for kind in (PurePosixPath, PureWindowsPath):
        path = kind(name)
        if path.is_absolute() or path.anchor or ".." in path.parts:
            return False
    return name.endswith(".safetensors")
