"""Names, shapes and dtypes of stored tensors, from the headers of safetensors files alone. No torch."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from ..errors import ModelProblem

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
HEADER_LIMIT = 100_000_000
DTYPES = {
    "F64": ("float64", 8),
    "F32": ("float32", 4),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "I64": ("int64", 8),
    "I32": ("int32", 4),
    "I16": ("int16", 2),
    "I8": ("int8", 1),
    "U8": ("uint8", 1),
    "BOOL": ("bool", 1),
}


@dataclass(frozen=True)
class StoredTensor:
    """One tensor as a safetensors file describes it."""

    key: str
    shape: tuple[int, ...]
    dtype: str
    file: str

    @property
    def numel(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def bytes(self) -> int:
        return self.numel * next((size for name, size in DTYPES.values() if name == self.dtype), 1)


def read_headers(folder: Path) -> tuple[StoredTensor, ...]:
    """Every tensor of a checkpoint folder, single file or sharded, in stored order.

    Raises:
        ModelProblem: no weights, only pickled weights, a missing shard, a damaged header, a truncated file, or an
            index that names files outside the folder.
    """
    if (folder / SINGLE).is_file():
        return _file_header(folder, SINGLE)
    if (folder / INDEX).is_file():
        index = weight_map(folder)
        tensors = [tensor for name in sorted(set(index.values())) for tensor in _file_header(folder, name)]
        absent = sorted(index.keys() - {tensor.key for tensor in tensors})
        if absent:
            raise ModelProblem(f"{folder / INDEX} names {absent[0]!r}, which no file holds; download it again.")
        return tuple(tensors)
    pickled = sorted(path.name for pattern in PICKLED for path in folder.glob(pattern))
    if pickled:
        raise ModelProblem(
            f"{folder} has only pickled weights ({pickled[0]}), which can run code when opened; "
            "convert them to safetensors (model.save_pretrained) and try again."
        )
    raise ModelProblem(f"{folder} has no weights; expected {SINGLE} or {INDEX} with its shards.")


def weight_map(folder: Path) -> dict[str, str]:
    """Tensor name -> file name of a sharded checkpoint; every file is inside the folder and there.

    Raises:
        ModelProblem: the index can't be read, a file is missing, or a name leads out of the folder.
    """
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        names = set(index.values())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelProblem(f"{folder / INDEX} is not an index of weights; download it again.") from None
    for name in sorted(names, key=str):
        if not isinstance(name, str) or not _inside(name):
            raise ModelProblem(f"{folder / INDEX} names {name!r}, a file outside the model folder; refused.")
        if not (folder / name).is_file():
            raise ModelProblem(f"{folder} lacks the weights file {name} that its index names; download it again.")
    return index


def _inside(name: str) -> bool:
    """A plain relative path to a safetensors file, on any system."""
    for kind in (PurePosixPath, PureWindowsPath):
        path = kind(name)
        if path.is_absolute() or path.anchor or ".." in path.parts:
            return False
    return name.endswith(".safetensors")


def _file_header(folder: Path, name: str) -> tuple[StoredTensor, ...]:
    path = folder / name
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 2 <= length <= min(HEADER_LIMIT, size - 8):
            raise ModelProblem(f"{path} is not a safetensors file or its header is damaged; download it again.")
        raw = file.read(length)
    try:
        entries = json.loads(raw)
        entries.pop("__metadata__", None)
        tensors = tuple(
            StoredTensor(key, tuple(map(int, entry["shape"])), DTYPES.get(entry["dtype"], (entry["dtype"],))[0], name)
            for key, entry in entries.items()
        )
        end = max((int(entry["data_offsets"][1]) for entry in entries.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise ModelProblem(f"{path} has a damaged safetensors header; download it again.") from None
    if 8 + length + end != size:
        raise ModelProblem(f"{path} has {size} bytes where its header promises {8 + length + end}; download it again.")
    return tensors
