"""BERT-like models: encoders trained to fill in masks, sampled as masked diffusion models."""

from __future__ import annotations

from ..family import MASKED_DIFFUSION, Config, Family


def matches(config: Config) -> bool:
    """Return whether transformers has a masked-language class for this config."""
    architectures = [str(name) for name in config.get("architectures") or []]
    bert = config.get("model_type") == "bert" and "BertForPreTraining" in architectures
    return bert or any(name.endswith("ForMaskedLM") for name in architectures)


FAMILY = Family(
    name="masked-lm",
    title="BERT-like masked language model",
    examples="BERT, RoBERTa, ModernBERT, EuroBERT, DistilBERT",
    objective=MASKED_DIFFUSION,
    matches=matches,
    architecture="AutoModelForMaskedLM",
    forbid_mask_prediction=True,
    closes_canvas=True,
    samplers=("low_confidence", "mdlm", "random", "confidence_threshold"),
    units=("layers",),
    adapter="masked_lm",
)
