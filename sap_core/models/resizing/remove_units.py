"""Remove heads, feed-forward channels or layers from a model: smaller matrices, less to compute, less to store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .experts import remove_experts
from .layers import remove_layers
from .resized import ResizedModel, resize
from .units import Shape, layer_units

if TYPE_CHECKING:
    from ..info import ModelInfo
    from ..loaded import LoadedModel

CARRIES = {"heads": ("o",), "channels": ("down",), "layers": ("o", "down")}


def remove_units(
    model: LoadedModel, unit: str, gone: list[list[int]], shape: Shape, means: dict[str, Tensor] | None = None
) -> ResizedModel:
    """Return ``model`` without the units ``gone`` (per layer; for layers: the layers in gone[0]), cut to ``shape``.

    ``model`` itself is changed and must not be used any more. ``means``: mean of the input columns of the matrices that
    read the units, by name; if given, W * mean of what is removed becomes their bias (FLAP, arXiv 2312.11983).
    """
    if unit == "layers":
        return remove_layers(model, gone[0])
    if unit == "experts":
        return remove_experts(model, gone, shape.experts)
    info = model.info
    for layer, (out, total) in enumerate(zip(gone, layer_units(info, unit), strict=True)):
        left = [index for index in range(total) if index not in set(out)]
        for matrix in (m for m in info.matrices if m.layer == layer):
            linear = model.module.get_submodule(matrix.name)
            if matrix.kind in CARRIES[unit]:
                mean = means[matrix.name] if means else None
                _keep_inputs(linear, unit_columns(info, unit, left), unit_columns(info, unit, sorted(out)), mean)
            elif unit == "heads" and matrix.kind == "q":
                _keep_outputs(linear, unit_columns(info, unit, left))
            elif unit == "heads" and matrix.kind in ("k", "v"):
                _keep_outputs(linear, _columns(left, info.head_dim))
            elif unit == "channels" and matrix.kind in ("gate", "up"):
                _keep_outputs(linear, _columns(left, 1))
    if means:
        _fill_biases(model, unit)
    return resize(model, shape.layers)


def zero_units(model: LoadedModel, layer: int, unit: str, units: list[int]) -> None:
    """Zero the output of these units of a layer; the model keeps its shape and computes as if they were removed."""
    info = model.info
    for matrix in (m for m in info.matrices if m.layer == layer and m.kind in CARRIES[unit]):
        weight = model.module.get_submodule(matrix.name).weight.data
        weight[:, unit_columns(info, unit, units).to(weight.device)] = 0


def unit_columns(info: ModelInfo, unit: str, units: list[int]) -> Tensor:
    """Return the columns of these heads (key-value groups) or channels in the matrix that reads them."""
    return _columns(units, info.head_dim * (info.heads // info.kv_heads) if unit == "heads" else 1)


def _columns(units: list[int], size: int) -> Tensor:
    """Return the columns of these units, each ``size`` wide."""
    return (torch.tensor(units, dtype=torch.long)[:, None] * size + torch.arange(size)).flatten()


def _keep_outputs(linear: nn.Linear, rows: Tensor) -> None:
    rows = rows.to(linear.weight.device)
    linear.weight = nn.Parameter(linear.weight.data[rows].clone(), requires_grad=False)
    if linear.bias is not None:
        linear.bias = nn.Parameter(linear.bias.data[rows].clone(), requires_grad=False)
    linear.out_features = len(rows)


def _keep_inputs(linear: nn.Linear, left: Tensor, gone: Tensor, mean: Tensor | None) -> None:
    device = linear.weight.device
    weight = linear.weight.data
    if mean is not None:
        bias = (weight[:, gone.to(device)].float() @ mean.float()[gone.to(mean.device)].to(device)).to(weight.dtype)
        old = linear.bias.data if linear.bias is not None else 0
        linear.bias = nn.Parameter(old + bias, requires_grad=False)
    linear.weight = nn.Parameter(weight[:, left.to(device)].clone(), requires_grad=False)
    linear.in_features = len(left)


def _fill_biases(model: LoadedModel, unit: str) -> None:
    """Add biases of zeros: native classes have a bias on all matrices of a part or on none."""
    kinds = ("q", "k", "v") if unit == "heads" else ("gate", "up")
    for matrix in model.info.matrices:
        linear = model.module.get_submodule(matrix.name)
        if matrix.kind in kinds and linear.bias is None:
            linear.bias = nn.Parameter(linear.weight.new_zeros(linear.out_features), requires_grad=False)
