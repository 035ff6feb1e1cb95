"""How a model is loaded; part of every spec that names one."""

from __future__ import annotations

from typing import Any, Literal

from .base import AUTO, Spec
from .options import option

# What says how a model is to be called, where it does not say so itself; what `inspect_model` takes, too.
CONVENTIONS = ("mask_token_id", "causal", "shift_logits", "block_size")


class ModelOptions(Spec):
    """How a model is loaded; part of every spec that names one."""

    model: str = option(help="demo:NAME, a folder, or a Hub id.")
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8", "int4"] = option(
        AUTO,
        "Precision of the weights: auto, float32, bfloat16, float16, int8, int4; the last two need bitsandbytes and "
        "can't be pruned.",
    )
    device: str = option(AUTO, "auto, cpu, cuda, cuda:N, mps, or spread over all GPUs and main memory.")
    trust_remote_code: bool = option(False, "Run Python code that comes with the model.")
    mask_token_id: int | None = option(None, "For diffusion models that do not declare their mask token.", ge=0)
    causal: bool | None = option(
        None,
        "Attention is causal (writes left to right), or bidirectional (denoises).",
        shown="as declared",
        name="causal/bidirectional",
    )
    shift_logits: bool | None = option(
        None, "Row i of a model that denoises predicts token i + 1, or token i.", shown="as declared"
    )
    block_size: int | None = option(
        None, "Tokens a block-causal model denoises at a time; 0: all.", shown="as declared", ge=0
    )

    adapter: str | None = option(
        None,
        "LoRA folder that is merged into the model when it is loaded, not into a baseline; needs peft.",
        shown="none",
        reads="file",
    )

    @property
    def inspecting(self) -> dict[str, Any]:
        """Return the keyword arguments of `inspect_model` in this spec."""
        return {name: getattr(self, name) for name in CONVENTIONS}

    @property
    def loading(self) -> dict[str, Any]:
        """Return the keyword arguments of `load_model` in this spec, with ``keep`` if it has one."""
        names = [name for name in ModelOptions.model_fields if name != "model"]
        return {name: getattr(self, name) for name in (*names, "keep") if hasattr(self, name)}
