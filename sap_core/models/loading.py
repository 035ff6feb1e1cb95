"""`load_model`: from a demo name, a folder or a Hub id to a `LoadedModel`. safetensors only, never a question."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import ModelProblem, UnknownOption
from .experts import unpack_experts
from .family import Family
from .info import ModelInfo, describe
from .layout import TRANSPOSED
from .loaded import LoadedModel
from .source import download, find_source
from .tokens import load_tokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
log = logging.getLogger(__name__)


def load_model(
    ref: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    mask_token_id: int | None = None,
) -> LoadedModel:
    """Loads a model in evaluation mode.

    Args:
        ref: "demo:stories-diffusion", "demo:stories-ar", a folder, or a Hub id.
        dtype: "auto" keeps the stored precision (float16 becomes float32 on a CPU, which computes it slowly).
        device: "auto" takes a CUDA GPU, then an Apple one, then the CPU; or cpu, cuda, cuda:N, mps.
        trust_remote_code: Lets Python code that comes with the model run, where no native class does.
        mask_token_id: For diffusion models that do not declare their mask token.

    Raises:
        ModelProblem: the model can't be loaded as asked; raised before weights are read wherever possible.
        UnknownOption: no such dtype or device.
    """
    target = pick_device(device)
    source = find_source(ref)
    info = describe(source, mask_token_id=mask_token_id)
    kind = pick_dtype(dtype, info, target)
    check_consent(info, trust_remote_code)
    if info.path is None:
        info = dataclasses.replace(info, path=str(download(ref, code=info.row.remote_code)))
    config = native_config_object(info)
    module = read_weights(info, config, kind, trust_remote_code)
    linear_from_conv1d(module, info)
    unpack_experts(module, info.matrices)
    info = prunable_as_loaded(module, info)
    row = info.row
    tokenizer = load_tokenizer(
        Path(info.path), config, trust_remote_code=row.remote_code, class_name=row.tokenizer
    )
    return adapter(row)(module.to(target), tokenizer, info)


def pick_device(device: str) -> torch.device:
    """The torch device a name stands for.

    Raises:
        UnknownOption: no such device here.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    known = ["auto", "cpu", *(["cuda"] if cuda else []), *(["mps"] if mps else [])]
    known += [f"cuda:{i}" for i in range(torch.cuda.device_count())] if cuda else []
    if device not in known:
        raise UnknownOption("device", device, known, hint="These are the devices of this machine.")
    return torch.device(device)


def pick_dtype(dtype: str, info: ModelInfo, device: torch.device) -> torch.dtype:
    """The torch dtype a name stands for.

    Raises:
        UnknownOption: none of auto, float32, bfloat16, float16.
    """
    if dtype == "auto":
        stored = DTYPES.get(info.dtype, torch.float32)
        return torch.float32 if stored is torch.float16 and device.type == "cpu" else stored
    if dtype not in DTYPES:
        raise UnknownOption("dtype", dtype, ["auto", *DTYPES])
    return DTYPES[dtype]


def check_consent(info: ModelInfo, trust_remote_code: bool) -> None:
    """Refuses a model that needs its own code where the user did not agree to run it."""
    if info.row.remote_code and not trust_remote_code:
        code = sorted(set((info.config.get("auto_map") or {}).values()))
        raise ModelProblem(
            f"{info.ref} needs its own Python code ({', '.join(code) or 'auto_map'}); read it, "
            "then load with trust_remote_code=True (--trust-remote-code) if you trust it."
        )


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
    try:
        config = AutoConfig.for_model(model_type, **fields)
    except Exception as error:  # each config class has its own kinds of complaint
        raise ModelProblem(f"{info.ref}: config.json does not fit its class ({_line(error)}).") from None
    config.name_or_path = info.path
    return config


def read_weights(info: ModelInfo, config: Any, dtype: torch.dtype, trust_remote_code: bool) -> nn.Module:
    """The native module with its weights from disk, on the CPU.

    Raises:
        ModelProblem: tensors are missing or of another shape than the config says.
    """
    import transformers

    row = info.row
    loader = getattr(transformers, row.architecture) if row.architecture else transformers.AutoModelForCausalLM
    options: dict[str, Any] = {} if row.architecture else {"trust_remote_code": row.remote_code and trust_remote_code}
    if row.key_mapping:
        options["key_mapping"] = dict(row.key_mapping)
    try:
        with quiet():
            module, report = loader.from_pretrained(
                info.path,
                config=config,
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                **options,
            )
    except (RuntimeError, ValueError, OSError, KeyError, AttributeError) as error:
        raise ModelProblem(f"{info.ref} can't be loaded: {_line(error)}") from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelProblem(
            f"{info.ref} lacks {len(missing)} tensors its config calls for, first {missing[0]}; download it again."
        )
    if report["unexpected_keys"]:
        log.info("%s: tensors not used: %s", info.ref, sorted(report["unexpected_keys"]))
    return module


def linear_from_conv1d(module: nn.Module, info: ModelInfo) -> None:
    """Turns GPT-2's transposed layers into nn.Linear in place, on a view of the same memory: equal results."""
    if info.native_config.get("model_type") not in TRANSPOSED:
        return
    for matrix in info.matrices:
        parent, _, name = matrix.name.rpartition(".")
        old = module.get_submodule(matrix.name)
        # The weight stays in its stored order in memory, so the product is computed exactly as before.
        new = nn.Linear(matrix.cols, matrix.rows, bias=True, device="meta")
        new.weight = nn.Parameter(old.weight.data.t(), requires_grad=False)
        new.bias = nn.Parameter(old.bias.data, requires_grad=False)
        setattr(module.get_submodule(parent), name, new)


def prunable_as_loaded(module: nn.Module, info: ModelInfo) -> ModelInfo:
    """Holds the description to the module: every matrix it lists must be a linear layer of that shape.

    Where one is not, the model still runs and can be captured; pruning is refused with the name of what is in the way.
    """
    for matrix in info.matrices:
        layer = _submodule(module, matrix.name)
        if not isinstance(layer, nn.Linear) or tuple(layer.weight.shape) != (matrix.rows, matrix.cols):
            reason = f"{matrix.name} is no {matrix.rows} x {matrix.cols} linear layer in {type(module).__name__}"
            loaded = tuple(m for m in info.matrices if isinstance(_submodule(module, m.name), nn.Linear))
            return dataclasses.replace(info, matrices=loaded, no_pruning=info.no_pruning or reason)
    return info


def _submodule(module: nn.Module, name: str) -> nn.Module | None:
    try:
        return module.get_submodule(name)
    except AttributeError:
        return None


def adapter(row: Family) -> type[LoadedModel]:
    """The class that a family's models become."""
    module, _, name = row.adapter.partition(":")
    return getattr(import_module(module), name)


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

