"""Reads a checkpoint into its native transformers class: config, names and shapes first, then the weights."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import torch
from torch import nn

from ..errors import ModelProblem
from .family import Family
from .info import ModelInfo
from .per_layer import kind_of
from .source import Source

log = logging.getLogger(__name__)


def read_native(source: Source, info: ModelInfo, placing: dict[str, Any]) -> nn.Module:
    """The native module with the weights of ``info.path``.

    Args:
        placing: Arguments of from_pretrained that say where and in which precision.

    Raises:
        ModelProblem: config and weights do not fit each other or the class; found before weights are read where that
            is possible.
    """
    config = native_config_object(info)
    check_shapes(source, info, config)
    return read_weights(info, config, placing)


def native_config_object(info: ModelInfo) -> Any:
    """The transformers config of the native class.

    Raises:
        ModelProblem: no class for its model_type, or values it refuses.
    """
    from transformers import AutoConfig

    fields = dict(info.native_config)
    model_type = fields.pop("model_type", None)
    for name in ("auto_map", "transformers_version", "_name_or_path"):
        fields.pop(name, None)
    own = own_classes(info)
    try:
        config = own[0](**fields) if own else AutoConfig.for_model(model_type, **fields)
    except Exception as error:  # each config class has its own kinds of complaint
        raise ModelProblem(f"{info.ref}: config.json does not fit its class ({_line(error)}).") from None
    config.name_or_path = info.path
    return config


def check_shapes(source: Source, info: ModelInfo, config: Any) -> None:
    """Compares every stored tensor with the native class, built without memory, before any weight is read.

    Raises:
        ModelProblem: a tensor of another shape than the config says.
    """
    expected = {name: tuple(value.shape) for name, value in empty_module(info, config).state_dict().items()}
    for tensor in source.tensors:
        shape = expected.get(info.keys[tensor.key], tensor.shape)
        if shape != tensor.shape and not info.config.get("quantization_config"):
            raise ModelProblem(
                f"{info.ref}: {tensor.key} has shape {list(tensor.shape)} where config.json calls for {list(shape)}; "
                "config.json and weights are not of one model."
            )


def empty_module(info: ModelInfo, config: Any) -> nn.Module:
    """The native module on the meta device: names and shapes without memory."""
    loader = _loader(info)
    with torch.device("meta"):
        return loader.from_config(config) if hasattr(loader, "from_config") else loader(config)


def own_classes(info: ModelInfo) -> tuple[Any, Any] | None:
    """(config class, model class) of this package for a model that transformers has no class for, else None.

    Those are families whose row names one, and models whose layers differ in width.
    """
    if info.native_config.get("per_layer_config"):
        from .modeling_per_layer import per_layer

        return per_layer(kind_of(info.native_config, info.ref))
    if ":" in info.row.architecture:
        module, _, name = info.row.architecture.partition(":")
        model = getattr(import_module(module), name)
        return model.config_class, model
    return None


def _loader(info: ModelInfo) -> Any:
    own = own_classes(info)
    return own[1] if own else loader_class(info.row)


def loader_class(row: Family) -> Any:
    """The transformers class, or Auto class, that loads a family.

    Raises:
        ModelProblem: this version of transformers does not have it.
    """
    import transformers

    name = row.architecture or "AutoModelForCausalLM"
    found = getattr(transformers, name, None)
    if found is None:
        raise ModelProblem(f"transformers {transformers.__version__} has no {name}; {row.title} needs a newer version.")
    return found


def read_weights(info: ModelInfo, config: Any, placing: dict[str, Any]) -> nn.Module:
    """The native module with its weights from disk.

    Raises:
        ModelProblem: tensors are missing, or transformers refuses them.
    """
    loader, options = _loader(info), dict(placing)
    if info.row.key_mapping:
        options["key_mapping"] = dict(info.row.key_mapping)
    try:
        with quiet():
            module, report = loader.from_pretrained(
                info.path,
                config=config,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                **options,
            )
    except (RuntimeError, ValueError, OSError, KeyError, AttributeError, ImportError) as error:
        raise ModelProblem(f"{info.ref} can't be loaded: {_line(error)}") from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelProblem(
            f"{info.ref} lacks {len(missing)} tensors its config calls for, first {missing[0]}; download it again."
        )
    if report["unexpected_keys"]:
        log.info("%s: tensors not used: %s", info.ref, sorted(report["unexpected_keys"]))
    return module


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers' loading reports and progress bars off the terminal; what matters is raised."""
    from transformers.utils import logging as noise

    level, bars = noise.get_verbosity(), noise.is_progress_bar_enabled()
    noise.set_verbosity_error()
    noise.disable_progress_bar()
    try:
        yield
    finally:
        noise.set_verbosity(level)
        if bars:
            noise.enable_progress_bar()


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) < 300 else f"{text[:300]} ..."
