"""Take whole layers out: the blocks that stay are numbered anew, in the module, the stored names and config.json."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

from torch import nn

from ..family import Config
from .resized import ResizedModel, resized_class

if TYPE_CHECKING:
    from ..loaded import LoadedModel

# What configs call the number of layers, and the lists that have an entry for each.
COUNTS = ("num_hidden_layers", "n_layers", "n_layer", "n_blocks", "num_layers")
LISTS = ("layer_types", "moe_layer_freq", "mlp_layer_types", "no_rope_layers")
NUMBERED = ("mlp_only_layers",)  # lists of layer numbers
FIRST = ("first_k_dense_replace", "max_window_layers")  # numbers of layers, from the first on
_STORED = re.compile(r"^(?P<head>(?:.*?\.)?(?:layers|layer|h|blocks|block)\.)(?P<number>\d+)(?P<rest>\..+)$")


def remove_layers(model: LoadedModel, gone: list[int]) -> ResizedModel:
    """Return ``model`` without the layers ``gone``; it is changed and must not be used any more."""
    info = model.info
    kept = [layer for layer in range(info.layers) if layer not in set(gone)]
    number_of = {layer: number for number, layer in enumerate(kept)}
    path = info.matrices[0].name.partition(f".{info.matrices[0].layer}.")[0]
    _drop(model.module, path, kept)
    keys = {}
    for stored, native in info.keys.items():
        inside, found = native.startswith(f"{path}."), _STORED.match(stored)
        if not inside or found is None:
            keys[stored] = native
        elif (layer := int(found["number"])) in number_of:
            keys[f"{found['head']}{number_of[layer]}{found['rest']}"] = _renumbered(
                native, path, layer, number_of[layer]
            )
    matrices = tuple(
        dataclasses.replace(m, name=_renumbered(m.name, path, m.layer, number_of[m.layer]), layer=number_of[m.layer])
        for m in info.matrices
        if m.layer in number_of
    )
    parameters = list(model.module.parameters())
    small = dataclasses.replace(
        info,
        layers=len(kept),
        parameters=sum(p.numel() for p in parameters),
        bytes=sum(p.numel() * p.element_size() for p in parameters),
        matrices=matrices,
        keys=keys,
        config=keep_layers(info.config, kept),
        native_config=keep_layers(info.native_config, kept),
    )
    config = model.module.config
    types = list(getattr(config, "layer_types", None) or [])
    config.num_hidden_layers = len(kept)
    if types:  # a class may have made them from something else that config.json says, which no longer fits
        config.layer_types = [types[layer] for layer in kept]
        if "global_attn_every_n_layers" in info.config:
            small.config["layer_types"] = small.native_config["layer_types"] = config.layer_types
    return resized_class(type(model))(model.module, model.tokenizer, small)


def keep_layers(config: Config, kept: list[int]) -> Config:
    """Return a config that says of the layers ``kept``, in their order, what it said of all."""
    found = dict(config)
    for name, value in config.items():
        if name in COUNTS:
            found[name] = len(kept)
        elif name in LISTS and isinstance(value, list):
            found[name] = [value[layer] for layer in kept]
        elif name in NUMBERED and isinstance(value, list):
            found[name] = [number for number, layer in enumerate(kept) if layer in value]
        elif name in FIRST and isinstance(value, int):
            found[name] = sum(layer < value for layer in kept)
        elif name == "per_layer_config" and isinstance(value, dict):
            found[name] = {str(number): value[str(layer)] for number, layer in enumerate(kept)}
    return found


def _renumbered(name: str, path: str, old: int, new: int) -> str:
    return f"{path}.{new}{name.removeprefix(f'{path}.{old}')}"


def _drop(module: nn.Module, path: str, kept: list[int]) -> None:
    holder, _, attribute = path.rpartition(".")
    blocks: Any = module.get_submodule(path)
    left = nn.ModuleList([blocks[layer] for layer in kept])
    for number, block in enumerate(left):
        for part in block.modules():
            if hasattr(part, "layer_idx"):
                setattr(part, "layer_idx", number)  # noqa: B010  a module's own attribute
    setattr(module.get_submodule(holder), attribute, left)
