"""A2D: autoregressive Llama and Qwen models turned into diffusion models (dLLM's Tiny-A2D), whole or in blocks.

Their tensor names are the native ones. Published folders of models trained on blocks (BD3-LM) do not say so: the user
does (--block-size), or a ``block_size`` in config.json. Blocks then count from where the prompt ends; otherwise a model
attends to the whole canvas.
"""

from __future__ import annotations

from ..family import MASKED_DIFFUSION, Config, Family

PREFIX = "a2d-"
NATIVE = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}


def native_type(config: Config) -> str | None:
    """Return the native model type of an A2D config; None for any other."""
    name = str(config.get("model_type", "")).lower()
    return name.removeprefix(PREFIX) if name.startswith(PREFIX) else None


def native_config(config: Config) -> Config:
    """Return the config of the native class, bidirectional."""
    model_type = native_type(config) or ""
    return {**config, "model_type": model_type, "architectures": [NATIVE[model_type]], "is_causal": False}


def _family(name: str, title: str, examples: str, blocks: bool, samplers: tuple[str, ...], adapter: str) -> Family:
    return Family(
        name=name,
        title=title,
        examples=examples,
        objective=MASKED_DIFFUSION,
        matches=lambda config: native_type(config) in NATIVE and bool(config.get("block_size")) == blocks,
        native_config=native_config,
        natives=tuple(NATIVE),
        block_size=lambda config: config.get("block_size"),
        samplers=samplers,
        rounded_shares=True,
        answer_starts_block=True,
        units=("heads", "channels", "layers"),
        export="original names and config",
        adapter=adapter,
    )


WHOLE = _family(
    "a2d",
    "A2D, whole canvas",
    "Tiny-A2D of Llama, Qwen2, Qwen3 trained with masked diffusion",
    False,
    ("low_confidence", "random", "confidence_threshold"),
    "plain",
)
BLOCKS = _family(
    "a2d-blocks",
    "A2D, block diffusion",
    "Tiny-A2D trained with BD3-LM: block_size in config.json, or --block-size",
    True,
    ("low_confidence_static", "low_confidence_dynamic", "confidence_threshold"),
    "block_causal",
)
