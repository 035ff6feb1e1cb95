"""Bidirectional models in native transformers classes: any decoder whose config.json says ``is_causal: false``.

One that was made from an autoregressive model, as Dream was, may still predict token i + 1 in row i: its config.json
says ``sap_shift_logits: true``.
"""

from __future__ import annotations

from ...errors import ModelProblem
from ..family import AUTOREGRESSIVE, MASKED_DIFFUSION, Config, Family
from .causal import matches as is_causal_class
from .remote import brings_code

# Native classes that compute causal attention whatever their config says, or have no attention at all.
CAUSAL_ONLY = ("falcon_mamba", "mamba", "mamba2", "nemotron", "openai-gpt", "prophetnet", "rwkv", "stablelm")


def native_config(config: Config) -> Config:
    """Return config.json with bidirectional attention.

    Raises:
        ModelProblem: a native class that computes causal attention only.
    """
    if config.get("model_type") in CAUSAL_ONLY:
        raise ModelProblem(
            f"config.json says is_causal=false, but transformers' class for {config['model_type']} lets no token see "
            "later ones; it can't denoise here. Give --causal if the model writes from left to right."
        )
    return {**config, "is_causal": False}


def matches(config: Config) -> bool:
    """Return whether config.json says that a native decoder is bidirectional."""
    if config.get("sap_objective") == AUTOREGRESSIVE or not is_causal_class(config) or brings_code(config):
        return False
    return config.get("sap_objective") == MASKED_DIFFUSION or config.get("is_causal") is False


FAMILY = Family(
    name="native-diffusion",
    title="Diffusion model in a native decoder class",
    examples="demo:stories-diffusion; any decoder with is_causal false in its config.json",
    objective=MASKED_DIFFUSION,
    matches=matches,
    native_config=native_config,
    forbid_mask_prediction=True,
    samplers=(
        "low_confidence",
        "random",
        "confidence_threshold",
        "origin",
        "maskgit_plus",
        "topk_margin",
        "entropy",
        "mdlm",
        "entropy_bounded",
        "p2",
        "remdm_cap",
        "remdm_rescale",
        "remdm_conf",
        "remdm_loop",
    ),
    units=("heads", "channels", "layers"),
)
