"""Check a config.json from outside: types and sizes that fit its weights, and nothing that loads code. No torch.

transformers reads some names of a config as instructions rather than as sizes: which attention or expert kernels to
fetch and import (``attn_implementation``, ``experts_implementation``, ``kernel_config``), which Python classes to run
(``auto_map``), which library unpacks the weights (``quantization_config``). `without_code` removes the first two kinds
at every depth; of the last, `check_config` accepts the methods whose loaders need no code from the model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..errors import ModelProblem
from ..untrusted import shown
from .family import Config
from .headers import StoredTensor

KERNELS = {"use_kernels", "allow_all_kernels", "distributed_config", "device_map"}
CODE = {"auto_map", "custom_generate", "custom_pipelines", "code_revision", "trust_remote_code"}
PROVENANCE = {"name_or_path", "transformers_version"}
QUANTIZED = ("bitsandbytes", "gptq", "awq", "compressed-tensors")
# Field -> the types it may have; None is a value of all of them.
TYPES: dict[str, tuple[type, ...]] = {
    "model_type": (str,),
    "architectures": (list,),
    "auto_map": (dict,),
    "quantization_config": (dict,),
    "per_layer_config": (dict,),
    "is_causal": (bool,),
    "dtype": (str,),
    "torch_dtype": (str,),
    "block_size": (int,),
    "canvas_length": (int,),
    "mask_token_id": (int,),
    "pad_token_id": (int,),
    "bos_token_id": (int, list),
    "eos_token_id": (int, list),
    "tie_word_embeddings": (bool,),
    "sap_objective": (str,),
    "sap_shift_logits": (bool,),
}
_LAYERS = re.compile(r"(n|num|num_hidden|num_encoder|num_decoder|encoder|decoder)_layers?|depth")
_SIZE = re.compile(r"size|layer|head|dim|expert|length|position|n_ctx|n_embd|n_inner|d_model|depth|width|rank|window")
_LARGEST = 1 << 31
_PACKED = 8  # 4-bit numbers in 32-bit words: a stored width can be so many times smaller than the real one


def check_config(config: Config, where: str, tensors: Sequence[StoredTensor]) -> None:
    """Check what a config declares against types and stored tensors, before anything is built from it.

    Args:
        config: config.json as stored.
        where: Names it in an error.
        tensors: The stored tensors.

    Raises:
        ModelProblem: a field of another type, a size beyond any model's, more layers than stored tensors, or a
            quantization whose loader brings code.
    """
    _check_types(config, where)
    if not config.get("quantization_config"):
        _check_stored_types(tensors, where)
    for part, name, value in _fields(config):
        if name.endswith("_config") and part is config and value is not None and not isinstance(value, dict):
            raise ModelProblem(f"{where}: config.json says {name}={shown(value)}; expected an object.")
        if name == "quantization_config" and isinstance(value, dict):
            _check_quantization(value, where)
        if type(value) is int:
            _check_size(name, value, where, len(tensors))


def _check_types(config: Config, where: str) -> None:
    for field, types in TYPES.items():
        value = config.get(field)
        if value is not None and (not isinstance(value, types) or (bool not in types and isinstance(value, bool))):
            raise ModelProblem(f"{where}: config.json says {field}={shown(value)}; expected {_names(types)}.")
    if not all(isinstance(name, str) for name in config.get("architectures") or []):
        raise ModelProblem(f"{where}: config.json says architectures={shown(config['architectures'])}; expected text.")


def _check_stored_types(tensors: Sequence[StoredTensor], where: str) -> None:
    for tensor in tensors:
        if tensor.key.endswith(".weight") and "float" not in tensor.dtype:
            raise ModelProblem(
                f"{where}: {shown(tensor.key)} is stored as {tensor.dtype}, and config.json has no quantization_config "
                "that says what it stands for; take the unquantized model."
            )


def _check_size(name: str, value: int, where: str, stored: int) -> None:
    if _LAYERS.fullmatch(name) and value > max(1000, stored):
        raise ModelProblem(f"{where}: config.json says {name}={value}, but {stored} tensors are stored.")
    if _SIZE.search(name) and abs(value) >= _LARGEST:
        raise ModelProblem(f"{where}: config.json says {name}={value}, beyond the size of any model.")


def check_sizes(sizes: dict[str, Any], where: str, shapes: dict[str, tuple[int, ...]], blocks: int) -> None:
    """Check the sizes of a native config against the stored tensors.

    Args:
        sizes: As `sap_core.models.sizes.read_sizes` gives them.
        where: Names the model in an error.
        shapes: Native tensor name -> stored shape; empty where nothing is known of them.
        blocks: Stored blocks; 0 where none was recognised.

    Raises:
        ModelProblem: more layers than stored, or a width that no stored tensor can have.
    """
    if blocks and sizes["layers"] > blocks:
        raise ModelProblem(f"{where}: config.json says {sizes['layers']} layers, but its weights hold {blocks}.")
    widest = max((size for shape in shapes.values() for size in shape), default=0)
    if not widest:
        return
    for name in ("hidden", "heads", "kv_heads", "head_dim", "ffn", "vocab_size"):
        if sizes[name] > _PACKED * widest:
            raise ModelProblem(
                f"{where}: config.json calls for {name} {sizes[name]}, but no stored tensor is wider than {widest}; "
                "config.json and weights are not of one model."
            )


def without_code(config: Config) -> Config:
    """Return a config without the names that make a loader fetch, import or run code, at every depth."""
    return _without(config, lambda name, value: name.startswith("_") or name in CODE | PROVENANCE)


def without_kernels(config: Config) -> Config:
    """Return a config without the names that make a loader fetch kernels; names of the model's own code are kept."""
    return _without(config, lambda name, value: False)


def kernel_names(config: Config) -> list[str]:
    """Return the names, at any depth, that make a loader fetch kernels."""
    return sorted({name for _, name, value in _fields(config) if _names_kernels(name, value)})


def _without(config: Config, dropped: Callable[[str, Any], bool]) -> Config:
    return {
        name: _without(value, dropped) if isinstance(value, dict) else value
        for name, value in config.items()
        if not dropped(name, value) and not _names_kernels(name, value)
    }


def _names_kernels(name: str, value: Any) -> bool:
    if "implementation" in name:
        return value is not None and not isinstance(value, bool) and value not in ("eager", "sdpa")
    if name in KERNELS or name.endswith("_plan"):
        return True
    return "kernel" in name and type(value) not in (int, float, list)  # the width of a convolution's kernel stays


def _check_quantization(value: dict[str, Any], where: str) -> None:
    method = value.get("quant_method")
    if method not in (None, *QUANTIZED) or not isinstance(method, str | None):
        raise ModelProblem(
            f"{where}: its weights are stored quantized by {shown(method)}, whose loader brings code of its own; "
            f"known: {', '.join(QUANTIZED)}. Take the unquantized model."
        )


def _fields(config: Config) -> Iterator[tuple[Config, str, Any]]:
    """Yield (object, name, value) of every field of a config, at any depth, through lists as well."""
    waiting: list[Any] = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            for name, value in part.items():
                yield part, name, value
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(inner for inner in part if isinstance(inner, dict | list))


def _names(types: tuple[type, ...]) -> str:
    names = {str: "text", list: "a list", dict: "an object", bool: "true or false", int: "a whole number"}
    return " or ".join(names[kind] for kind in types)
