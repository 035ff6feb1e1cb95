"""Device and precision of a model's weights: from option names to arguments of transformers."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch

from ..errors import ModelProblem, UnknownOption
from .info import ModelInfo

SPREAD = "spread"
QUANTIZED = ("int8", "int4")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(device: str) -> torch.device:
    """Return the torch device a name stands for.

    Raises:
        UnknownOption: no such device here.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    known = ["auto", "cpu", SPREAD, *(["cuda"] if cuda else []), *(["mps"] if mps else [])]
    known += [f"cuda:{i}" for i in range(torch.cuda.device_count())] if cuda else []
    if device not in known:
        raise UnknownOption("device", device, known, hint="These are the devices of this machine.")
    return torch.device(device)


def placement(dtype: str, info: ModelInfo, device: torch.device | None) -> dict[str, Any]:
    """Return the arguments of from_pretrained for precision and device; ``device`` None: all devices.

    Raises:
        UnknownOption: no such dtype.
        ModelProblem: quantization without bitsandbytes, or of widths that it does not take.
    """
    stored = DTYPES.get(info.dtype, torch.float32)
    if dtype in QUANTIZED:
        _check_quantizable(dtype, info, device)
        where = "auto" if device is None else device
        return {"dtype": stored, "quantization_config": quantization(dtype), "device_map": where}
    if dtype not in ("auto", *DTYPES):
        raise UnknownOption("dtype", dtype, ["auto", *DTYPES, *QUANTIZED])
    if dtype == "auto" and stored is torch.float16 and device is not None and device.type == "cpu":
        stored = torch.float32
    kind = {"dtype": stored if dtype == "auto" else DTYPES[dtype]}
    return {**kind, "device_map": "auto"} if device is None else kind


def _check_quantizable(dtype: str, info: ModelInfo, device: torch.device | None) -> None:
    """Raise ModelProblem if bitsandbytes' 4-bit kernel for the CPU can't take widths that are no multiple of 64."""
    odd = next((m for m in info.matrices if m.cols % 64), None)
    if dtype == "int4" and device is not None and device.type == "cpu" and odd:
        raise ModelProblem(
            f"dtype int4 on a CPU needs widths that 64 divides; {odd.name} of {info.ref} has {odd.cols}. Use int8."
        )


def quantization(dtype: str) -> Any:
    """Return bitsandbytes' settings for int8 or int4 (NF4).

    Raises:
        ModelProblem: bitsandbytes is not installed.
    """
    if find_spec("bitsandbytes") is None:
        raise ModelProblem(f"dtype {dtype} needs bitsandbytes, which is not installed: pip install bitsandbytes.")
    import logging

    from transformers import BitsAndBytesConfig

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # else one line per layer and pass on the casts it does

    if dtype == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
