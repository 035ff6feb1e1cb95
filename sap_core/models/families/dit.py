"""MDLM and BD3-LM of the Kuleshov group: diffusion transformers of 170M, trained on OpenWebText in GPT-2's tokens.

transformers has no class for them; `sap_core.models.native.dit` is ours, under the published tensor names. The folders
hold no tokenizer: it is GPT-2's, with one more token, the mask, behind its 50,257.
"""

from __future__ import annotations

from collections.abc import Callable

from ...errors import ModelProblem
from ..family import MASKED_DIFFUSION, Config, Family, model_type_is

NEEDED = ("vocab_size", "model_length", "hidden_dim", "cond_dim", "n_blocks", "n_heads")
KEPT = (*NEEDED, "adaln", "initializer_range")


def native_config(config: Config) -> Config:
    """Return the config of the native class; attention is bidirectional, within blocks for BD3-LM.

    Raises:
        ModelProblem: a field is missing, or the model is a variant that the native class does not compute.
    """
    missing = [name for name in NEEDED if config.get(name) is None]
    if missing:
        raise ModelProblem(f"config.json has no {missing[0]}; expected that of an MDLM or BD3-LM on the Hub.")
    if config.get("time_conditioning"):
        raise ModelProblem("config.json has time_conditioning=true; only models that do not look at the time can run.")
    if config.get("causal"):
        raise ModelProblem("config.json has causal=true: the autoregressive baseline of the BD3-LM code can't run.")
    kept = {name: config[name] for name in KEPT if config.get(name) is not None}
    sizes = {"num_hidden_layers": config["n_blocks"], "num_attention_heads": config["n_heads"]}
    return {
        **kept,
        **sizes,
        "hidden_size": config["hidden_dim"],
        "max_position_embeddings": config["model_length"],
        "model_type": "sap_dit",
        "mask_token_id": config["vocab_size"] - 1 if config.get("mask_token_id") is None else config["mask_token_id"],
    }


def _family(
    name: str, title: str, examples: str, block_size: Callable, samplers: tuple[str, ...], adapter: str
) -> Family:
    return Family(
        name=name,
        title=title,
        examples=examples,
        objective=MASKED_DIFFUSION,
        matches=model_type_is(name),
        native_config=native_config,
        architecture="sap_core.models.native.dit:DiTForMaskedDiffusion",
        tokenizer="GPT2Tokenizer",
        forbid_mask_prediction=True,
        block_size=block_size,
        samplers=samplers,
        units=("layers",),
        export="original names and config",
        adapter=adapter,
    )


MDLM = _family(
    "mdlm",
    "MDLM",
    "MDLM trained on OpenWebText (170M)",
    lambda config: None,
    (
        "mdlm",
        "remdm_loop",
        "remdm_cap",
        "remdm_rescale",
        "remdm_conf",
        "low_confidence",
        "random",
        "confidence_threshold",
        "entropy_bounded",
    ),
    "plain",
)
BD3LM = _family(
    "bd3lm",
    "BD3-LM",
    "BD3-LM trained on OpenWebText with blocks of 4, 8 or 16 (170M)",
    lambda config: config.get("block_size") or 1,
    ("mdlm", "low_confidence_static", "low_confidence_dynamic", "confidence_threshold"),
    "block_causal",
)
