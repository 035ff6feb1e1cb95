"""Estimate the memory of a capture, and compare it with this machine's. No torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version

from .info import ModelInfo

DTYPE_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
QUANTIZED_BYTES = {"int8": 1, "int4": 0.5}
CAPTURE_CHUNK = 128  # queries whose attention rows are held at a time while statistics are taken


def estimate_memory(
    info: ModelInfo, *, dtype: str = "auto", length: int = 128, steps: int = 64, batch: int = 1
) -> dict[str, int]:
    """Return the bytes a capture needs, term by term.

    weights = parameters x bytes each; in int8 and int4 only the matrices inside the blocks are smaller. activations =
    the largest sum during one forward pass: the residual stream and one block's widest intermediates, logits in the
    model's precision and twice in float32 or better for the sampler, and the attention rows of one chunk of queries.
    trajectory = what is written to disk: received attention twice and two scalars per step, layer and head in float32,
    and 14 bytes per step and position of token state. It is an estimate: the overhead of the allocator and of the
    libraries is not included.

    Returns:
        weights, activations, trajectory, total (memory: weights + activations + one step of the trajectory).
    """
    stored = DTYPE_BYTES.get(info.dtype, 4)
    each = DTYPE_BYTES.get(dtype, stored)  # quantized matrices compute in the stored precision
    tokens = batch * length
    widest = max(4 * info.hidden, 3 * info.ffn, (info.heads + 2 * info.kv_heads) * info.head_dim)
    activations = tokens * (2 * info.hidden + widest) * each
    activations += tokens * info.vocab_size * (each + 2 * 8)
    activations += batch * info.heads * min(CAPTURE_CHUNK, length) * length * 4 * 2
    step = trajectory_bytes(info, batch, length, 1)
    smaller = sum(m.rows * m.cols for m in info.matrices) if dtype in QUANTIZED_BYTES else 0
    weights = int((info.parameters - smaller) * each + smaller * QUANTIZED_BYTES.get(dtype, 0))
    return {
        "weights": weights,
        "activations": int(activations),
        "trajectory": int(step * steps),
        "total": int(weights + activations + step),
    }


def trajectory_bytes(info: ModelInfo, batch: int, length: int, steps: int, precision: str = "float32") -> int:
    """Bytes on disk of a capture's trajectories, before compression.

    Received attention twice and two scalars per step, layer and head; 14 bytes per step and position of token state.
    """
    each = {"float16": 2, "uint8": 1}.get(precision, 4)
    heads = info.layers * info.heads * (2 * length * each + 2 * 4)
    return steps * batch * (heads + 14 * length)


def fits(estimate: dict[str, int], device: str = "cpu") -> bool:
    """Return whether the estimated total is less than the memory that is free for ``device`` now."""
    return estimate["total"] < available_memory(device)


def available_memory(device: str = "cpu") -> int:
    """Return the bytes that a new process could use on a device, named as in `load_model`; default: main memory."""
    import psutil

    main = int(psutil.virtual_memory().available)
    if device in ("cpu", "mps"):
        return main
    cards = gpu_memory()
    if device == "spread":
        return sum(cards) + main
    name, _, number = device.partition(":")
    if name in ("auto", "cuda") and cards:
        index = int(number) if number.isdigit() else 0
        return cards[index] if index < len(cards) else 0
    return main


def gpu_memory() -> list[int]:
    """Return the free bytes of each CUDA GPU in the order torch counts them; empty without torch or a GPU.

    nvidia-smi is asked, because torch takes seconds to import and would open a context on the GPU.
    """
    try:
        if shutil.which("nvidia-smi") is None or version("torch").endswith("+cpu"):
            return []
        command = ["nvidia-smi", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
        free = [int(line) * 2**20 for line in answer.split("\n") if line.strip()]
    except (PackageNotFoundError, OSError, ValueError, subprocess.SubprocessError):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return free
    return [free[int(name)] for name in visible.split(",") if name.strip().isdigit() and int(name) < len(free)]
