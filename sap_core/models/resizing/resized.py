"""A model from which whole units were removed: a smaller module that saves and loads in its new shape."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..config_check import without_kernels
from ..headers import SINGLE
from ..info import ModelInfo
from ..layout import Matrix
from ..loaded import LoadedModel
from ..per_layer import CODE, SIZES, code_of, config_entries, kind_of
from ..saving import copy_beside_weights, write_safetensors
from .units import ELASTIC, Shape, needs_mistral

BIASES = {"attention_bias": ".self_attn.o_proj.bias", "mlp_bias": ".mlp.down_proj.bias"}


class ResizedModel(LoadedModel):
    """The base of every family's adapter after resizing: ``save`` writes the current shapes instead of the source's."""

    def save(self, folder: str | Path) -> None:
        """Write one weights file under the stored names, config.json with the new sizes, and the tokenizer."""
        folder, source = Path(folder), self.info.folder
        folder.mkdir(parents=True, exist_ok=True)
        state = self.native_state()
        names = {stored: native for stored, native in self.info.keys.items() if native in state}
        known = set(names.values())
        written = {state[native].data_ptr() for native in known}
        # Biases that make up for what was removed are new; those that are another one's by a tie are not.
        names |= {
            native: native
            for native, value in state.items()
            if native not in known and native.endswith(".bias") and value.data_ptr() not in written
        }
        content: dict[str, Tensor] = {name: state[native].cpu().contiguous().clone() for name, native in names.items()}
        write_safetensors(content, folder / SINGLE, {"format": "pt"})
        # The order in ELASTIC is that of the whole model; CODE is written anew where layers still differ.
        copy_beside_weights(source, folder, self.info.config, without=(ELASTIC, CODE))
        config = without_kernels(self.info.config)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        if self.info.config.get("per_layer_config"):
            (folder / CODE).write_text(code_of(self.info.config, self.info.ref), encoding="utf-8")


def resize(model: LoadedModel, layers: int) -> ResizedModel:
    """Return ``model``, whose module has been cut to ``layers`` layers, with an updated description."""
    info = model.info
    linears = {m.name: model.module.get_submodule(m.name) for m in info.matrices if m.layer < layers}
    matrices = tuple(
        Matrix(m.name, m.layer, linears[m.name].out_features, linears[m.name].in_features, m.kind)
        for m in info.matrices
        if m.name in linears
    )
    parameters = list(model.module.parameters())
    shape = Shape.of(dataclasses.replace(info, layers=layers, matrices=matrices))
    own, native = _configs(info, shape, model.module)
    small = dataclasses.replace(
        info,
        layers=layers,
        heads=native["num_attention_heads"],
        kv_heads=native["num_key_value_heads"],
        ffn=native["intermediate_size"],
        parameters=sum(p.numel() for p in parameters),
        bytes=sum(p.numel() * p.element_size() for p in parameters),
        matrices=matrices,
        config=own,
        native_config=native,
    )
    for name in ("num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size"):
        setattr(model.module.config, name, native[name])
    return resized_class(type(model))(model.module, model.tokenizer, small)


@cache
def resized_class(adapter: type[LoadedModel]) -> type[ResizedModel]:
    """Return the family's own adapter, with ``save`` for the current shapes; what it computes is unchanged."""
    if issubclass(adapter, ResizedModel):
        return adapter
    return type(f"Resized{adapter.__name__}", (ResizedModel, adapter), {})


def _configs(info: ModelInfo, shape: Shape, module: nn.Module) -> tuple[dict, dict]:
    """Return (config.json as the family stores it, the same as the native class reads it) for the new shape."""
    sizes: dict[str, Any] = {"num_hidden_layers": shape.layers, "head_dim": info.head_dim}
    state = module.state_dict()
    sizes |= {flag: True for flag, ending in BIASES.items() if any(name.endswith(ending) for name in state)}
    if "layer_types" in info.native_config:
        sizes["layer_types"] = info.native_config["layer_types"][: shape.layers]
    dropped: tuple[str, ...] = ()
    if shape.per_layer:
        # At the top stay the sizes before: a stock class that overlooks per_layer_config then fails on every tensor.
        sizes |= {
            "num_attention_heads": info.heads,
            "num_key_value_heads": info.kv_heads,
            "intermediate_size": info.ffn,
        }
        ratio = info.heads // info.kv_heads
        widths = ((ratio * kv, kv, ffn) for kv, ffn in shape.per_layer)
        sizes["per_layer_config"] = {
            str(layer): dict(zip(SIZES, each, strict=True)) for layer, each in enumerate(widths)
        }
        sizes |= config_entries(info.native_config, info.ref)
    else:
        sizes |= {
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "intermediate_size": shape.ffn,
        }
        if info.native_config.get("per_layer_config"):
            dropped = ("per_layer_config", "auto_map")
            sizes["architectures"] = [f"{kind_of(info.native_config, info.ref)}ForCausalLM"]
    if needs_mistral(info, shape):
        sizes |= {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": None}
    native = {name: value for name, value in {**info.native_config, **sizes}.items() if name not in dropped}
    if info.config.get("model_type") == info.native_config.get("model_type"):
        return {name: value for name, value in {**info.config, **sizes}.items() if name not in dropped}, native
    renamed = dict(info.row.config_aliases)
    changed = {key: value for key, value in sizes.items() if info.native_config.get(key) != value and key in native}
    told = ("intermediate_size", "num_hidden_layers", "layer_types", "num_attention_heads", "num_key_value_heads")
    own = {renamed.get(key, key): value for key, value in changed.items() if key in told}
    return {**info.config, **own}, native
