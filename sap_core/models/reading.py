"""Read a checkpoint into its native transformers class: config, names and shapes first, then the weights."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import torch
from torch import nn

from ..errors import ModelProblem
from ..untrusted import foreign
from .config_check import without_code
from .family import Family
from .info import ModelInfo
from .packed import Grid, grid_of
from .packing import read_unpacked
from .per_layer import kind_of
from .source import Source

# A block has a few modules without weights beside those with; lists of experts are counted once more when unpacked.
MODULES_PER_TENSOR, MODULES_ANYWAY = 20, 2000

log = logging.getLogger(__name__)


def read_native(source: Source, info: ModelInfo, placing: dict[str, Any]) -> nn.Module:
    """Return the native module with the weights of ``info.path``.

    Args:
        source: The folder of the model.
        info: Its description.
        placing: Arguments of from_pretrained for device and precision.

    Raises:
        ModelProblem: config and weights do not fit each other or the class; found before weights are read if possible.
    """
    config = native_config_object(info)
    check_shapes(source, info, config)
    return read_weights(info, config, placing)


def native_config_object(info: ModelInfo) -> Any:
    """Return the transformers config of the native class.

    Raises:
        ModelProblem: no class for its model_type, or values it refuses.
    """
    from transformers import AutoConfig

    fields = _numbers(without_code(info.native_config))
    if grid_of(info.config) is not None:  # its weights are unpacked here
        fields.pop("quantization_config", None)
    model_type = fields.pop("model_type", None)
    own = own_classes(info)
    with foreign(f"{info.ref}: config.json does not fit its class", problem=ModelProblem):
        config = own[0](**fields) if own else AutoConfig.for_model(model_type, **fields)
    config.name_or_path = info.path
    return config


def _numbers(value: Any) -> Any:
    """Return a config's values with ``{"__float__": "Infinity"}``, as transformers writes infinity, as the number."""
    if isinstance(value, dict):
        if set(value) == {"__float__"}:
            return float(value["__float__"])
        return {name: _numbers(inner) for name, inner in value.items()}
    return [_numbers(inner) for inner in value] if isinstance(value, list) else value


def check_shapes(source: Source, info: ModelInfo, config: Any) -> None:
    """Check every stored tensor against the native class, built without memory, before any weight is read.

    Raises:
        ModelProblem: a tensor of another shape than the config says, or integers where floating-point is expected.
    """
    expected = empty_module(info, config).state_dict()
    if info.config.get("quantization_config") and grid_of(info.config) is None:
        return
    for tensor in source.tensors:
        wanted = expected.get(info.keys[tensor.key])
        if wanted is None:
            continue
        if tuple(wanted.shape) != tensor.shape:
            raise ModelProblem(
                f"{info.ref}: {tensor.key} has shape {list(tensor.shape)} where config.json calls for "
                f"{list(wanted.shape)}; config.json and weights are not of one model."
            )
        if wanted.is_floating_point() and "float" not in tensor.dtype:
            raise ModelProblem(
                f"{info.ref}: {tensor.key} is stored as {tensor.dtype} where config.json calls for floating-point "
                "numbers; quantized weights need their quantization_config."
            )


def empty_module(info: ModelInfo, config: Any) -> nn.Module:
    """Return the native module on the meta device: names and shapes without memory.

    Raises:
        ModelProblem: its class can't be built from the config, or has far more parts than the checkpoint has tensors.
    """
    loader = _loader(info)
    hint = "; config.json and weights are not of one model"
    with (
        foreign(f"{info.ref}: config.json does not fit its class", hint, problem=ModelProblem),
        torch.device("meta"),
        _at_most(MODULES_PER_TENSOR * len(info.keys) + MODULES_ANYWAY, info),
    ):
        if hasattr(loader, "from_config"):
            return loader.from_config(config, trust_remote_code=False)
        return loader(config)


@contextlib.contextmanager
def _at_most(count: int, info: ModelInfo) -> Iterator[None]:
    """Stop building a model after ``count`` modules: each takes memory even if its weights take none."""
    from torch.nn.modules.module import register_module_module_registration_hook

    built = 0

    def counted(*_: Any) -> None:
        nonlocal built
        built += 1
        if built > count:
            raise ModelProblem(
                f"{info.ref}: config.json calls for more than {count} modules, but {len(info.keys)} tensors are stored."
            )

    handle = register_module_module_registration_hook(counted)
    try:
        yield
    finally:
        handle.remove()


def own_classes(info: ModelInfo) -> tuple[Any, Any] | None:
    """Return (config class, model class) of this package for a model that transformers has no class for, else None.

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


def loader_class(family: Family) -> Any:
    """Return the transformers class, or Auto class, that loads a family.

    Raises:
        ModelProblem: this version of transformers does not have it.
    """
    import transformers

    name = family.architecture or "AutoModelForCausalLM"
    result = getattr(transformers, name, None)
    if result is None:
        raise ModelProblem(
            f"transformers {transformers.__version__} has no {name}; {family.title} needs a newer version."
        )
    return result


def read_weights(info: ModelInfo, config: Any, placing: dict[str, Any]) -> nn.Module:
    """Return the native module with its weights from disk.

    Raises:
        ModelProblem: tensors are missing, or transformers refuses them.
    """
    grid = grid_of(info.config)
    if grid is not None:
        return _read_packed(info, config, placing, grid)
    loader, options = _loader(info), dict(placing)
    if info.row.key_mapping:
        options["key_mapping"] = dict(info.row.key_mapping)
    with foreign(f"{info.ref} can't be loaded", problem=ModelProblem), quiet():
        module, report = loader.from_pretrained(
            info.path,
            config=config,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **options,
        )
    missing = sorted(report["missing_keys"])
    if missing and report["unexpected_keys"]:
        unknown = sorted(report["unexpected_keys"])[0]
        raise ModelProblem(
            f"{info.ref}: {type(module).__name__} calls for {len(missing)} tensors that are not stored, such as "
            f"{missing[0]}, and does not know {unknown}, which is: the names are not those of this class."
        )
    if missing:
        raise ModelProblem(
            f"{info.ref} lacks {len(missing)} tensors its config calls for, first {missing[0]}; download it again."
        )
    for name, value in module.state_dict().items():
        check_finite(info, name, value)
    if report["unexpected_keys"]:
        log.info("%s: tensors not used: %s", info.ref, sorted(report["unexpected_keys"]))
    return module


def _read_packed(info: ModelInfo, config: Any, placing: dict[str, Any], grid: Grid) -> nn.Module:
    """Return the native module with the weights that packed whole numbers stand for.

    Raises:
        ModelProblem: tensors are missing, or of other shapes than the class; several devices are asked for.
    """
    if "device_map" in placing:
        raise ModelProblem(f"{info.ref} is stored packed and is unpacked on one device; give device cpu or cuda.")
    state = {info.keys[name]: value for name, value in read_unpacked(info.folder, grid).items()}
    for name, value in state.items():
        check_finite(info, name, value)
    loader = _loader(info)
    with foreign(f"{info.ref} can't be loaded", problem=ModelProblem), quiet():
        build = loader.from_config if hasattr(loader, "from_config") else loader
        module = build(config)
        missing, unexpected = module.load_state_dict(state, strict=False, assign=True)
        module.tie_weights()
    tied = set(getattr(module, "_tied_weights_keys", None) or ())
    missing = [name for name in missing if name not in tied]
    if missing:
        raise ModelProblem(
            f"{info.ref} lacks {len(missing)} tensors its config calls for, first {missing[0]}; download it again."
        )
    if unexpected:
        log.info("%s: tensors not used: %s", info.ref, sorted(unexpected))
    return module.to(placing["dtype"])


def check_finite(info: ModelInfo, name: str, value: torch.Tensor) -> None:
    """Raise ModelProblem for a weight with a NaN or an infinity: every result computed with it would be wrong."""
    if value.dtype not in (torch.float64, torch.float32, torch.bfloat16, torch.float16) or value.is_meta:
        return
    if value.numel() and not all(torch.isfinite(end) for end in torch.aminmax(value.detach())):
        raise ModelProblem(f"{info.ref}: {name} holds numbers that are infinite or none (NaN); download it again.")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' loading reports and progress bars while the context lasts; errors are raised."""
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
