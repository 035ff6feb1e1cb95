"""How a model is loaded; part of every spec that names one."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .base import AUTO, Spec

# What says how a model is to be called, where it does not say so itself; what `inspect_model` takes, too.
CONVENTIONS = ("mask_token_id", "causal", "shift_logits", "block_size")


class ModelOptions(Spec):
    """How a model is loaded; part of every spec that names one."""

    model: str = Field(description="demo:NAME, a folder, or a Hub id")
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8", "int4"] = Field(
        AUTO, description="weights' precision; int8 and int4 need bitsandbytes and can't be pruned"
    )
    device: str = Field(AUTO, description="auto, cpu, cuda, cuda:N, mps, or spread over all GPUs and main memory")
    trust_remote_code: bool = Field(False, description="run Python code that comes with the model")
    mask_token_id: int | None = Field(None, ge=0, description="for models that do not declare their mask token")
    causal: bool | None = Field(
        None, description="attention is causal (writes left to right) or bidirectional (denoises); default: as declared"
    )
    shift_logits: bool | None = Field(
        None, description="row i of a model that denoises predicts token i + 1, or token i; default: as declared"
    )
    block_size: int | None = Field(
        None, ge=0, description="tokens denoised at a time by a block-causal model; 0: all; default: as declared"
    )

    @property
    def inspecting(self) -> dict[str, Any]:
        """The keyword arguments of `inspect_model` that this spec holds."""
        return {name: getattr(self, name) for name in CONVENTIONS}

    @property
    def loading(self) -> dict[str, Any]:
        """The keyword arguments of `load_model` that this spec holds; ``keep`` where it has one."""
        names = [name for name in ModelOptions.model_fields if name != "model"]
        return {name: getattr(self, name) for name in (*names, "keep") if hasattr(self, name)}
