"""Take whole experts out of mixtures: the expert's matrices, its row of the router, and the number in config.json."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..experts import Experts
from ..layout import EXPERT
from .resized import ResizedModel, resized_class
from .units import EXPERT_FIELDS, EXPERTS, layer_units, whole_groups

if TYPE_CHECKING:
    from ..info import ModelInfo
    from ..loaded import LoadedModel


def remove_experts(model: LoadedModel, gone: list[list[int]], left: int) -> ResizedModel:
    """Return ``model`` without the experts ``gone`` (per layer); it is changed and must not be used any more.

    The experts that stay keep their order and are numbered anew, and the router loses the rows of those that go: a
    token's softmax, or sigmoid, is then over the ones that stay.

    Args:
        left: Experts of each mixture afterwards.
    """
    info = model.info
    for layer, out in enumerate(gone):
        if out:
            owner = next(m["owner"] for n in info.matrices if n.layer == layer and (m := EXPERT.match(n.name)))
            mixture = model.module.get_submodule(owner.rpartition(".")[0])
            kept = [number for number in range(len(mixture.experts)) if number not in set(out)]
            mixture.experts = Experts(mixture.experts[number] for number in kept)
            _cut_router(mixture.gate, kept)
    matrices = tuple(m for m in info.matrices if not (e := EXPERT.match(m.name)) or int(e["number"]) < left)
    out = max(map(len, gone))
    changed = _groups(info, out)
    for layer in range(info.layers) if changed else ():
        gate = getattr(model.blocks[layer].mlp, "gate", None)
        if gate is not None:
            gate.groups, gate.top_groups = changed["n_group"], changed["topk_group"]
    fields = {name: left for name in EXPERT_FIELDS if hasattr(model.module.config, name)}
    for field, value in (changed | fields).items():
        setattr(model.module.config, field, value)
    parameters = list(model.module.parameters())
    small = dataclasses.replace(
        info,
        parameters=sum(p.numel() for p in parameters),
        bytes=sum(p.numel() * p.element_size() for p in parameters),
        matrices=matrices,
        config={**info.config, **changed, **_named(info.config, left)},
        native_config={**info.native_config, **changed, **_named(info.native_config, left)},
    )
    return resized_class(type(model))(model.module, model.tokenizer, small)


def _named(config: dict, left: int) -> dict[str, int]:
    """Return the number of experts under the name, or names, that a config has for it."""
    return {name: left for name in EXPERT_FIELDS if name in config}


def _groups(info: ModelInfo, out: int) -> dict[str, int]:
    """Return what config.json says of the router's groups where some of them left whole."""
    if not whole_groups(info, out):
        return {}
    groups = info.native_config["n_group"]
    left = groups - out // (max(layer_units(info, EXPERTS)) // groups)
    return {"n_group": left, "topk_group": min(info.native_config["topk_group"], left)}


def _cut_router(gate: Any, kept: list[int]) -> None:
    rows = torch.tensor(kept)
    gate.weight = nn.Parameter(gate.weight.data[rows.to(gate.weight.device)].clone(), requires_grad=False)
    bias = getattr(gate, "expert_bias", None)
    if bias is not None:
        gate.register_buffer("expert_bias", bias[rows.to(bias.device)].clone())
    if hasattr(gate, "num_experts"):
        gate.num_experts = len(kept)
