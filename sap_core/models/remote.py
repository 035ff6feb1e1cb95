"""Models that run their own Python code, with the user's consent.

Their classes are built the ordinary way and the weights copied in. transformers' from_pretrained is not used: today it
leaves buffers that are not stored (rotary frequencies) of older code uninitialised, which gives wrong logits, no error.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ModelProblem
from .families.remote import CLASSES
from .info import ModelInfo
from .loaded import LoadedModel, positions
from .source import Source


def read_remote(source: Source, info: ModelInfo, placing: dict[str, Any]) -> nn.Module:
    """Return the model's own class with its weights.

    Raises:
        ModelProblem: its code fails here, or tensors are missing or unknown to it.
    """
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    if set(placing) != {"dtype"}:
        raise ModelProblem(f"{info.ref} runs its own code, which loads whole on one device, not spread or quantized.")
    offered = info.config["auto_map"]
    names = (_class_name(offered.get("AutoConfig")), _class_name(next(offered[n] for n in CLASSES if n in offered)))
    try:
        config, model = (get_class_from_dynamic_module(name, str(info.folder), local_files_only=True) for name in names)
        module = model(config.from_pretrained(info.path)).to(placing["dtype"])
        _fill(module, info.folder, source)
    except ModelProblem:
        raise
    except Exception as error:  # anything can come out of foreign code
        import transformers

        reason = " ".join(str(error).split())[:200]
        raise ModelProblem(
            f"The code of {info.ref} fails on transformers {transformers.__version__} "
            f"({type(error).__name__}: {reason}); ask its authors for a version that runs."
        ) from None
    return module


class RemoteModel(LoadedModel):
    """A `LoadedModel` around foreign code; only the arguments its forward takes are passed."""

    records_through = "functional"

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
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
    """Copy the stored tensors into the module's own, in place: ties and buffers stay as its code made them."""
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
