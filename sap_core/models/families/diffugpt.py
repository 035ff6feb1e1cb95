"""DiffuGPT and DiffuLLaMA (arXiv 2410.17891): bidirectional GPT-2 and Llama whose row i predicts token i + 1.

Published DiffuGPT folders keep GPT-2's config and name the tensors of the inner model ``denoise_model``, which tells
them from GPT-2. DiffuLLaMA's are published under Llama's names as well; such a folder is a native model that the user
calls bidirectional and shifted.
"""

from __future__ import annotations

from ..family import MASKED_DIFFUSION, Config, Family, model_type_is


def _family(name: str, title: str, examples: str, model_type: str, architecture: str, inner: str, rows: str) -> Family:
    def native_config(config: Config) -> Config:
        return {**config, "model_type": model_type, "architectures": [architecture], "is_causal": False}

    return Family(
        name=name,
        title=title,
        examples=examples,
        objective=MASKED_DIFFUSION,
        matches=model_type_is(model_type),
        marks="denoise_model.",
        native_config=native_config,
        architecture=architecture,
        key_mapping=((r"^denoise_model\.", f"{inner}."), (r"^embed_tokens\.", f"{inner}.{rows}.")),
        shift_logits=lambda config: True,
        samplers=("origin", "entropy", "maskgit_plus", "topk_margin", "confidence_threshold", "entropy_bounded"),
        export="original names and config",
    )


DIFFUGPT = _family("diffugpt", "DiffuGPT", "DiffuGPT small and medium", "gpt2", "GPT2LMHeadModel", "transformer", "wte")
DIFFULLAMA = _family(
    "diffullama",
    "DiffuLLaMA under its own names",
    "DiffuLLaMA 7B as its training code saves it",
    "llama",
    "LlamaForCausalLM",
    "model",
    "embed_tokens",
)
