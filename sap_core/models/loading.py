"""`load_model`: load a demo model, a folder or a Hub id as a `LoadedModel`. safetensors only, without prompts."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import nn

from ..errors import ModelProblem
from .adapters import adapter_of, reader_of
from .conventions import Given
from .experts import unpack_experts
from .info import ModelInfo
from .inspection import describe
from .layout import TRANSPOSED
from .loaded import LoadedModel
from .lora import check_adapter, merge_adapter, read_adapter
from .placement import (
    QUANTIZED,
    SPREAD,
    pick_device,
    placement,
)
from .probe import check_loaded
from .resizing.elastic import cut
from .source import download, find_source, read_folder
from .tokens import load_tokenizer


def as_loaded(model: LoadedModel | str, **loading: Any) -> LoadedModel:
    """Return a loaded model as it is, and what a name stands for as `load_model` loads it with ``loading``."""
    return load_model(model, **loading) if isinstance(model, str) else model


def load_model(
    ref: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    mask_token_id: int | None = None,
    causal: bool | None = None,
    shift_logits: bool | None = None,
    block_size: int | None = None,
    adapter: str | None = None,
    keep: float | None = None,
) -> LoadedModel:
    """Load a model in evaluation mode.

    Args:
        ref: "demo:stories-diffusion", "demo:stories-ar", a folder, or a Hub id.
        dtype: "auto" keeps the stored precision (float16 becomes float32 on a CPU, which computes it slowly); "int8"
            and "int4" quantize with bitsandbytes, for capture, not for pruning.
        device: "auto" takes a CUDA GPU, then an Apple one, then the CPU; or cpu, cuda, cuda:N, mps; "spread"
            distributes the layers among all GPUs and main memory.
        trust_remote_code: Allow Python code of the model to run if there is no native class.
        mask_token_id: For diffusion models that do not declare their mask token.
        causal: True: attention is causal, the model writes from left to right; False: bidirectional, it denoises.
        shift_logits: Whether row i of a model that denoises predicts token i + 1.
        block_size: Tokens that a block-causal model denoises at a time; 0: the whole canvas. causal, shift_logits and
            block_size are needed only if config.json does not declare them; they override what it declares.
        adapter: LoRA folder, as peft writes it, that is merged into the weights; needs peft and a full precision.
        keep: Elastic checkpoints only: the fraction of heads and channels to load, the most important ones.

    Raises:
        ModelProblem: the model can't be loaded as asked; raised before weights are read wherever possible.
        UnknownOption: no such dtype or device.
    """
    target = None if device == SPREAD else pick_device(device)
    source = find_source(ref)
    info = describe(source, mask_token_id=mask_token_id, given=Given(causal, shift_logits, block_size))
    placing = placement(dtype, info, target)
    check_consent(info, trust_remote_code)
    lora = None if adapter is None else read_adapter(adapter)
    if lora is not None:
        check_adapter(lora, info)
        if dtype in QUANTIZED or target is None:
            raise ModelProblem(f"adapter needs weights in full precision on one device, not dtype {dtype} on {device}.")
    if info.path is None:
        source = read_folder(ref, download(ref))
        info = describe(source, mask_token_id=mask_token_id, given=Given(causal, shift_logits, block_size))
    family = info.row
    module = reader_of(family)(source, info, placing)
    if dtype in QUANTIZED:
        info = dataclasses.replace(info, no_pruning=f"it was loaded in {dtype}; load it in another dtype to prune it")
    else:
        linear_from_conv1d(module, info)
        unpack_experts(module, info.matrices)
    if lora is not None:
        module, info = merge_adapter(module, lora, info), dataclasses.replace(info, adapter=str(lora.folder.absolute()))
    info = prunable_as_loaded(module, info)
    tokenizer = load_tokenizer(
        info.folder, module.config, trust_remote_code=family.remote_code, class_name=family.tokenizer
    )
    placed = module if "device_map" in placing else module.to(target)
    model = adapter_of(family)(placed, tokenizer, info)
    if model.offloaded:
        reason = f"device {device} keeps some of its weights out of reach between passes; load it on one device"
        model.info = dataclasses.replace(info, no_pruning=info.no_pruning or reason)
    check_loaded(model)
    return model if keep is None else cut(model, keep)


def check_consent(info: ModelInfo, trust_remote_code: bool) -> None:
    """Raise ModelProblem if a model needs its own code and the user did not agree to run it."""
    if info.row.remote_code and not trust_remote_code:
        code = sorted({str(value) for value in (info.config.get("auto_map") or {}).values()})
        raise ModelProblem(
            f"{info.ref} needs its own Python code ({', '.join(code) or 'auto_map'}); read it, "
            "then load with trust_remote_code=True (--trust-remote-code) if you trust it."
        )


def linear_from_conv1d(module: nn.Module, info: ModelInfo) -> None:
    """Turn GPT-2's transposed layers into nn.Linear in place, on a view of the same memory: equal results."""
    if info.native_config.get("model_type") not in TRANSPOSED:
        return
    for matrix in info.matrices:
        parent, _, name = matrix.name.rpartition(".")
        old: Any = module.get_submodule(matrix.name)
        # The weight stays in its stored order in memory, so the product is computed exactly as before.
        new = nn.Linear(matrix.cols, matrix.rows, bias=True, device="meta")
        new.weight = nn.Parameter(old.weight.data.t(), requires_grad=False)
        new.bias = nn.Parameter(old.bias.data, requires_grad=False)
        setattr(module.get_submodule(parent), name, new)


def prunable_as_loaded(module: nn.Module, info: ModelInfo) -> ModelInfo:
    """Check that every matrix of the description is a linear layer of that shape in the module; return the description.

    If one is not, the model still runs and can be captured; pruning is refused with the name of that matrix.
    """
    result = {matrix: _submodule(module, matrix.name) for matrix in info.matrices}
    for matrix, layer in result.items():
        if not isinstance(layer, nn.Linear) or tuple(layer.weight.shape) != (matrix.rows, matrix.cols):
            reason = f"{matrix.name} is no {matrix.rows} x {matrix.cols} linear layer in {type(module).__name__}"
            there = tuple(matrix for matrix, layer in result.items() if layer is not None)
            return dataclasses.replace(info, matrices=there, no_pruning=info.no_pruning or reason)
    return info


def _submodule(module: nn.Module, name: str) -> nn.Module | None:
    try:
        return module.get_submodule(name)
    except AttributeError:
        return None
