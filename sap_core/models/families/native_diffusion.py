"""Bidirectional models in native transformers classes: any decoder whose config.json says ``is_causal: false``.

One that was made from an autoregressive model, as Dream was, may still predict token i + 1 in row i: its config.json
says ``sap_shift_logits: true``.
"""

from __future__ import annotations

from ..family import MASKED_DIFFUSION, Config, Family

# Classes whose mask and attention follow config.is_causal.
BIDIRECTIONAL = ("llama", "mistral", "qwen2", "qwen3", "qwen3_moe")


def matches(config: Config) -> bool:
    if config.get("model_type") not in BIDIRECTIONAL:
        return False
    declared = config.get("sap_objective")
    return declared == MASKED_DIFFUSION or (declared is None and config.get("is_causal") is False)


FAMILY = Family(
    name="native-diffusion",
    title="Diffusion model of Llama, Mistral or Qwen shape",
    examples="demo:stories-diffusion; any such model with is_causal false in its config.json",
    objective=MASKED_DIFFUSION,
    matches=matches,
    natives=BIDIRECTIONAL,
    native_config=lambda config: {**config, "is_causal": False},
    bans_mask=True,
    shift_logits=lambda config: config.get("sap_shift_logits") is True,
    samplers=(
        "low_confidence",
        "random",
        "confidence_threshold",
        "origin",
        "maskgit_plus",
        "topk_margin",
        "entropy",
        "mdlm",
    ),
    units=("heads", "channels", "layers"),
)
