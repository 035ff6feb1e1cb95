"""Remove whole experts from mixtures: the expert's matrices, its row of the router, and the number in config.json."""

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
    """Remove experts from ``model`` and return the result; ``model`` is changed and must not be used any more.

    The remaining experts keep their order and are renumbered, and the router loses the rows of the removed ones: a
    token's softmax, or sigmoid, is then over the remaining ones.

    Args:
        model: The model.
        gone: Experts to remove, per layer.
        left: Experts of each mixture afterwards.
    """
    info = model.info
    for layer, out in enumerate(gone):
        if out:
            owner = next(m["owner"] for n in info.matrices if n.layer == layer and (m := EXPERT.match(n.name)))
            mixture: Any = model.module.get_submodule(owner.rpartition(".")[0])
            kept = [number for number in range(len(mixture.experts)) if number not in set(out)]
            tied = [other for other in _sharing(model.module, mixture) if other is not mixture]
            router = getattr(mixture, "gate", None)
            if router is None:
                _cut_scaled_router(mixture.router, kept, [other.router for other in tied])
            else:
                _cut_router(router, kept)
            for each in (mixture, *tied):
                each.experts = Experts(each.experts[number] for number in kept)
    matrices = tuple(m for m in info.matrices if not (e := EXPERT.match(m.name)) or int(e["number"]) < left)
    out = max(map(len, gone))
    changed = _groups(info, out)
    for layer in range(info.layers) if changed else ():
        gate = getattr(model.blocks[layer].mlp, "gate", None)
        if gate is not None:
            gate.groups, gate.top_groups = changed["n_group"], changed["topk_group"]
    config = model.module.config.get_text_config() if "text_config" in info.native_config else model.module.config
    fields = {name: left for name in EXPERT_FIELDS if hasattr(config, name)}
    for field, value in (changed | fields).items():
        setattr(config, field, value)
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


def _named(config: dict, left: int) -> dict[str, Any]:
    """Return the number of experts under the names that a config has for it, inside its part on text if any."""
    if isinstance(config.get("text_config"), dict):
        return {"text_config": {**config["text_config"], **_named(config["text_config"], left)}}
    return {name: left for name in EXPERT_FIELDS if name in config}


def _groups(info: ModelInfo, out: int) -> dict[str, int]:
    """Return the config entries of the router's groups after some of them were removed."""
    if not whole_groups(info, out):
        return {}
    groups = info.native_config["n_group"]
    left = groups - out // (max(layer_units(info, EXPERTS)) // groups)
    return {"n_group": left, "topk_group": min(info.native_config["topk_group"], left)}


def _sharing(module: nn.Module, mixture: Any) -> list[Any]:
    """Return the parts of a model whose experts have the parameters of ``mixture``, itself among them."""
    first = mixture.experts[0].gate_proj.weight
    result: list[Any] = [part for part in module.modules() if isinstance(getattr(part, "experts", None), Experts)]
    return [part for part in result if part.experts[0].gate_proj.weight is first]


def _cut_scaled_router(router: Any, kept: list[int], tied: list[Any]) -> None:
    """Leave the rows ``kept`` in a router with a factor for each expert (Gemma), and in those that share them."""
    rows = torch.tensor(kept, device=router.proj.weight.device)
    weight, scale = (
        nn.Parameter(value.data[rows].clone(), requires_grad=False)
        for value in (router.proj.weight, router.per_expert_scale)
    )
    for each in (router, *tied):
        each.proj.weight, each.per_expert_scale, each.proj.out_features = weight, scale, len(kept)


def _cut_router(gate: Any, kept: list[int]) -> None:
    rows = torch.tensor(kept)
    gate.weight = nn.Parameter(gate.weight.data[rows.to(gate.weight.device)].clone(), requires_grad=False)
    bias = getattr(gate, "expert_bias", None)
    if bias is not None:
        gate.register_buffer("expert_bias", bias[rows.to(bias.device)].clone())
    if hasattr(gate, "num_experts"):
        gate.num_experts = len(kept)
