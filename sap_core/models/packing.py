"""Packed whole numbers to weights and back, in memory and in the files of a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from torch import Tensor, nn

from ..errors import InvalidInput
from .headers import INDEX, SINGLE, read_headers
from .packed import PACKED, PARTS, SCALE, SHAPE, Grid, entry_of
from .saving import write_index, write_safetensors

if TYPE_CHECKING:
    from .loaded import LoadedModel


@dataclass
class Quantized:
    """The grid that the matrices of a model in memory are on, and the scales of each, by native name."""

    grid: Grid
    scales: dict[str, Float[Tensor, "out group"]] = field(default_factory=dict)


def nearest(weight: Float[Tensor, "out in"], scales: Float[Tensor, "out group"], grid: Grid) -> Int[Tensor, "out in"]:
    """Return the whole numbers that are nearest to a weight on its grid, int8."""
    each = scales.float().repeat_interleave(weight.shape[1] // scales.shape[1], 1)
    return (weight.float() / each).round().clamp(grid.lowest, -grid.lowest - 1).to(torch.int8)


def on_grid(numbers: Int[Tensor, "out in"], scales: Float[Tensor, "out group"]) -> Float[Tensor, "out in"]:
    """Return the weights of whole numbers, computed in the precision of the scales, as every loader does."""
    return numbers.to(scales.dtype) * scales.repeat_interleave(numbers.shape[1] // scales.shape[1], 1)


def pack(numbers: Int[Tensor, "out in"], grid: Grid) -> Int[Tensor, "out word"]:
    """Return whole numbers packed along the inputs, the first in the lowest bits, shifted so that none is negative."""
    rows, cols = numbers.shape
    shifted = (numbers.to(torch.int64) - grid.lowest).view(rows, cols // grid.in_word, grid.in_word)
    words = (shifted << (torch.arange(grid.in_word, device=numbers.device) * grid.bits)).sum(-1)
    return torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)


def unpack(words: Int[Tensor, "out word"], grid: Grid) -> Int[Tensor, "out in"]:
    """Return the whole numbers of `pack`, int8."""
    shifts = torch.arange(grid.in_word, device=words.device) * grid.bits
    numbers = (words.to(torch.int64)[..., None] >> shifts) & (2**grid.bits - 1)
    return (numbers + grid.lowest).flatten(1).to(torch.int8)


def check_packable(model: LoadedModel) -> None:
    """Raise InvalidInput if the matrices of a model can't be stored packed."""
    linears = [module for layer in range(len(model.blocks)) for module in model.linears(layer).values()]
    if model.info.no_pruning:
        raise InvalidInput(f"{model.info.ref} can't be quantized: {model.info.no_pruning}.")
    stored = {name for name in model.info.keys.values() if name.endswith(".weight")}
    other = next((m.name for m in model.info.matrices if f"{m.name}.weight" not in stored), None)
    own = {id(module) for module in model.module.modules() if isinstance(module, nn.Linear)}
    if other or any(id(module) not in own for module in linears) or _experts(model):
        raise InvalidInput(
            f"{model.info.ref} can't be quantized: packed weights are read for plain linear layers only, and it has "
            f"{'experts' if _experts(model) else 'others'} in its blocks."
        )
    uneven = next((m for m in model.info.matrices if m.cols % 8), None)
    if uneven is not None:
        raise InvalidInput(
            f"{uneven.name} has {uneven.cols} inputs, which do not fill whole words of 32 bits; remove a number of "
            "channels or heads that leaves a multiple of 8."
        )


def _experts(model: LoadedModel) -> bool:
    return any(".experts." in matrix.name for matrix in model.info.matrices)


def pack_checkpoint(folder: Path, model: LoadedModel, quantized: Quantized) -> None:
    """Replace the matrices of a written checkpoint by their packed form, and say so in its config.json."""
    stored = {own: native for own, native in model.info.keys.items()}
    tensors, total = read_headers(folder), 0
    for name in sorted({tensor.file for tensor in tensors}):
        content: dict[str, Tensor] = {}
        with safe_open(folder / name, framework="pt") as file:
            metadata = file.metadata() or {"format": "pt"}
            for key in file.keys():
                matrix = (stored.get(key) or key).removesuffix(".weight")
                if matrix in quantized.scales:
                    content |= _packed(key.removesuffix("weight"), matrix, model, quantized)
                else:
                    content[key] = file.get_tensor(key)
        write_safetensors(content, folder / name, metadata)
        total += sum(value.numel() * value.element_size() for value in content.values())
    if not (folder / SINGLE).is_file():
        (folder / INDEX).unlink()
        found = tuple(t for name in sorted({t.file for t in tensors}) for t in _of_file(folder, name))
        write_index(folder, found, total)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = entry_of(quantized.grid, _left_out(model.module, quantized.scales))
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _of_file(folder: Path, name: str) -> tuple:
    from .headers import read_header

    return read_header(folder, name)[0]


def _packed(prefix: str, matrix: str, model: LoadedModel, quantized: Quantized) -> dict[str, Tensor]:
    weight = model.module.get_submodule(matrix).weight.detach()
    scales = quantized.scales[matrix].to(weight.device, weight.dtype)
    numbers = nearest(weight, scales, quantized.grid)
    parts = (pack(numbers, quantized.grid), scales, torch.tensor(weight.shape))
    return {f"{prefix}{part}": value.cpu().contiguous() for part, value in zip(PARTS, parts, strict=True)}


def _left_out(module: nn.Module, names: Iterable[str]) -> list[str]:
    """Return the linear layers that stay as they are."""
    known = set(names)
    return [name for name, part in module.named_modules() if isinstance(part, nn.Linear) and name not in known]


def read_unpacked(folder: Path, grid: Grid) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by stored name, packed matrices as the weights that they stand for."""
    found: dict[str, Tensor] = {}
    for name in sorted({tensor.file for tensor in read_headers(folder)}):
        with safe_open(folder / name, framework="pt") as file:
            names = set(file.keys())
            for key in sorted(names):
                base, _, part = key.rpartition(".")
                if part == PACKED:
                    numbers = unpack(file.get_tensor(key), grid)
                    found[f"{base}.weight"] = on_grid(numbers, file.get_tensor(f"{base}.{SCALE}"))
                elif part not in (SCALE, SHAPE) or f"{base}.{PACKED}" not in names:
                    found[key] = file.get_tensor(key)
    return found
