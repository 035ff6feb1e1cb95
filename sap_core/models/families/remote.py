"""All other models: those with their own Python code, run only with the user's consent.

Nothing is known of such a model: whether its attention is causal, its rows shifted, its canvas whole must be declared
in its config.json (``sap_objective`` or ``is_causal``, ``sap_shift_logits``, ``sap_block_size``) or given by the user.
Attention is captured where its code calls torch.nn.functional.scaled_dot_product_attention.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ..family import (
    AUTOREGRESSIVE,
    MASKED_DIFFUSION,
    Config,
    Family,
)

CLASSES = ("AutoModelForCausalLM", "AutoModelForMaskedLM", "AutoModel")


def brings_code(config: Config) -> bool:
    """Return whether only the model's own code can load it: it has some, and transformers has no class for its type."""
    offered = config.get("auto_map") or {}
    return any(name in offered for name in CLASSES) and not is_native(str(config.get("model_type", "")))


def is_native(model_type: str) -> bool:
    """Return whether transformers has a folder for this model type.

    This is found without importing transformers, which would import torch.
    """
    result = find_spec("transformers")
    if result is None or result.origin is None or not model_type.isidentifier():
        return False
    models = Path(result.origin).parent / "models"
    name = model_type.lower()
    return (models / name).is_dir() or (models / name.removesuffix("_text")).is_dir()


def _family(name: str, title: str, objective: str, samplers: tuple[str, ...]) -> Family:
    def matches(config: Config) -> bool:
        declared = config.get("sap_objective", AUTOREGRESSIVE if config.get("is_causal") else MASKED_DIFFUSION)
        return brings_code(config) and declared == objective

    return Family(
        name=name,
        title=title,
        examples="any model with an auto_map in its config.json; its mask token may have to be given",
        objective=objective,
        matches=matches,
        samplers=samplers,
        export="as loaded, with its code",
        remote_code=True,
        adapter="remote",
        reader="remote",
    )


DIFFUSION = _family(
    "remote-diffusion",
    "Diffusion model with its own code",
    MASKED_DIFFUSION,
    ("low_confidence", "random", "confidence_threshold", "entropy", "mdlm"),
)
CAUSAL = _family("remote-causal", "Causal model with its own code", AUTOREGRESSIVE, ("autoregressive",))
