"""Models that run their own Python code, with the user's consent.

Their classes are built the ordinary way and the weights copied in. transformers' from_pretrained is not used: today it
leaves buffers that are not stored (rotary frequencies) of older code uninitialised, which gives wrong logits, no error.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelProblem
from ..resources import is_out_of_memory
from .block_causal import additive
from .families.remote import CLASSES
from .info import ModelInfo
from .inspection import describe
from .loaded import LoadedModel
from .row_positions import positions
from .source import Source, read_folder

# What every config of transformers 4 had, and code written for it reads.
DEFAULTS = {"use_cache": True, "output_attentions": False, "output_hidden_states": False, "use_return_dict": True}


def read_remote(source: Source, info: ModelInfo, placing: dict[str, Any]) -> nn.Module:
    """Return the model's own class with its weights.

    Raises:
        ModelProblem: its code fails here, or tensors are missing or unknown to it.
    """
    from transformers.dynamic_module_utils import get_class_from_dynamic_module
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    if set(placing) != {"dtype"}:
        raise ModelProblem(f"{info.ref} runs its own code, which loads whole on one device, not spread or quantized.")
    offered = info.config["auto_map"]
    names = (_class_name(offered.get("AutoConfig")), _class_name(next(offered[n] for n in CLASSES if n in offered)))
    try:
        config, model = (get_class_from_dynamic_module(name, str(info.folder), local_files_only=True) for name in names)
        ROPE_INIT_FUNCTIONS.setdefault("default", _plain_rotary)
        settings = config.from_pretrained(info.path)
        for name, value in DEFAULTS.items():
            if not hasattr(settings, name):
                setattr(settings, name, value)
        module = model(settings).to(placing["dtype"])
        _fill(module, info.folder, source)
    except ModelProblem:
        raise
    except Exception as error:  # anything can come out of foreign code
        if is_out_of_memory(error):
            raise
        raise _broken(info, error) from None
    return module


def _plain_rotary(config: Any, device: Any = None, seq_len: int | None = None, **_: Any) -> tuple[Tensor, float]:
    """Return the inverse frequencies of plain rotary positions, which code for transformers 4 asks it for by name."""
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    size = int(size * (getattr(config, "partial_rotary_factor", None) or 1.0))
    base = getattr(config, "rope_theta", None) or config.rope_parameters["rope_theta"]
    powers = torch.arange(0, size, 2, dtype=torch.int64).to(device=device, dtype=torch.float) / size
    return 1.0 / base**powers, 1.0


def original_logits(folder: str, tokens: Tensor) -> tuple[Tensor, str]:
    """Return what the code in ``folder`` itself computes, before any shift, and the name of its class.

    Runs that code; `sap_core.export.verify` asks for consent before. (batch, sequence) -> (batch, sequence,
    vocabulary). A block-causal model is given the mask with which its published samplers call it.

    Raises:
        ModelProblem: as `read_remote`, or the forward pass fails.
    """
    source = read_folder(folder, Path(folder))
    info = describe(source)
    module = read_remote(source, info, {"dtype": getattr(torch, info.dtype)}).eval()
    options: dict[str, Any] = {}
    if info.block_size is not None and info.row.has_mask:
        blocks = torch.arange(tokens.shape[1])[None] // info.block_size
        options["attention_mask"] = additive(blocks, blocks, torch.ones_like(tokens), getattr(torch, info.dtype))
    try:
        with torch.no_grad():
            output = module(tokens, **options)
    except Exception as error:  # anything can come out of foreign code
        if is_out_of_memory(error):
            raise
        raise _broken(info, error) from None
    logits = getattr(output, "logits", None)
    return (output[0] if logits is None else logits), type(module).__name__


def _broken(info: ModelInfo, error: Exception) -> ModelProblem:
    """Return the error for a model's own code that does not run.

    It names a missing package, or the version of transformers that the code was written for.
    """
    import transformers

    reason = " ".join(str(error).split())[:200]
    missing = getattr(error, "name", None) or ""
    packages = re.search(r"not found in your environment: ([\w, .-]+?)\. Run", reason)
    if isinstance(error, ImportError) and (packages or not missing.startswith(("transformers", "torch"))):
        name = packages[1] if packages else missing or reason
        return ModelProblem(f"The code of {info.ref} needs Python packages that are not installed here: {name}.")
    written = info.config.get("transformers_version")
    older = f", and was written for {written}" if written else ""
    return ModelProblem(
        f"The code of {info.ref} fails on transformers {transformers.__version__}{older} "
        f"({type(error).__name__}: {reason}); a version of the code or of transformers that fit each other is needed."
    )


class RemoteModel(LoadedModel):
    """A `LoadedModel` around the model's own code; only the arguments that its forward accepts are passed."""

    records_through = "functional"

    @property
    def device(self) -> torch.device:
        """Device of the inputs."""
        return next(self.module.parameters()).device

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Return the logits (batch, sequence, vocabulary)."""
        known = inspect.signature(self.module.forward).parameters
        options: dict[str, Any] = {}
        if attention_mask is not None and "attention_mask" in known:
            options["attention_mask"] = attention_mask.to(self.device)
            if "position_ids" in known:
                options["position_ids"] = positions(options["attention_mask"])
        output = self.module(input_ids, **options)
        logits = getattr(output, "logits", None)
        return output[0] if logits is None else logits


def _fill(module: nn.Module, folder: Path, source: Source) -> None:
    """Copy the stored tensors into the module's own, in place: ties and buffers are kept as its code made them."""
    from safetensors import safe_open

    state = module.state_dict(keep_vars=True)
    filled: set[int] = set()
    with torch.no_grad():
        for file in sorted({tensor.file for tensor in source.tensors}):
            with safe_open(folder / file, framework="pt") as stored:
                for key in stored.keys():
                    if key not in state:
                        raise ModelProblem(f"{source.ref}: its code has no place for the stored tensor {key}.")
                    state[key].copy_(stored.get_tensor(key))
                    filled.add(state[key].data_ptr())
    empty = [name for name, value in module.named_parameters() if value.data_ptr() not in filled]
    if empty:
        raise ModelProblem(f"{source.ref} lacks {len(empty)} tensors its code calls for, first {empty[0]}.")


def _class_name(entry: Any) -> str:
    """Return the "module.Class" of an auto_map entry; a reference into another repository is refused."""
    name = entry[0] if isinstance(entry, list) else entry
    if not isinstance(name, str) or "--" in name:
        raise ModelProblem(f"auto_map names {name} for code; expected a class in the model's own files.")
    return name
