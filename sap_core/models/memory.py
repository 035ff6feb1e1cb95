"""How much memory a capture will take, and whether this machine has it. No torch."""

from __future__ import annotations

from .info import ModelInfo

DTYPE_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2, "int8": 1, "int4": 0.5}
CAPTURE_CHUNK = 128  # queries whose attention rows are held at a time while statistics are taken


def estimate_memory(
    info: ModelInfo, *, dtype: str = "auto", length: int = 128, steps: int = 64, batch: int = 1
) -> dict[str, int]:
    """Bytes a capture needs, term by term.

    weights = parameters x bytes each. activations = the largest moment of one forward pass: the residual stream and one
    block's widest intermediates, logits in the model's precision and twice in float32 or better for the sampler, and
    the attention rows of one chunk of queries. trajectory = what is written to disk: received attention twice and two
    scalars per step, layer and head in float32, and 14 bytes per step and position of token state. An estimate: the
    allocator's slack and the libraries themselves come on top.

    Returns:
        weights, activations, trajectory, total (memory: weights + activations + one step of the trajectory).
    """
    each = DTYPE_BYTES.get(info.dtype if dtype == "auto" else dtype, 4)
    tokens = batch * length
    widest = max(4 * info.hidden, 3 * info.ffn, (info.heads + 2 * info.kv_heads) * info.head_dim)
    activations = tokens * (2 * info.hidden + widest) * each
    activations += tokens * info.vocab_size * (each + 2 * 8)
    activations += batch * info.heads * min(CAPTURE_CHUNK, length) * length * 4 * 2
    step = batch * info.layers * info.heads * (2 * length + 2) * 4 + tokens * 14
    weights = int(info.parameters * each)
    return {
        "weights": weights,
        "activations": int(activations),
        "trajectory": int(step * steps),
        "total": int(weights + activations + step),
    }


def fits(estimate: dict[str, int]) -> bool:
    """Whether the estimated total is less than the memory that is free on this machine now."""
    return estimate["total"] < available_memory()


def available_memory() -> int:
    """Bytes of main memory that a new process could take."""
    import psutil

    return int(psutil.virtual_memory().available)
