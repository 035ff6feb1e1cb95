"""Nemotron-Labs-Diffusion: recognised in order to be refused by name.

Finished blocks attend causally and the open block in both directions, over Ministral's layers with scaled queries; no
class in transformers or here computes that, and its attention is not the block-causal one of other families.
"""

from __future__ import annotations

from ...errors import ModelProblem
from ..family import MASKED_DIFFUSION, Config, Family


def matches(config: Config) -> bool:
    """Return whether it is any of the Nemotron-Labs-Diffusion models, text or vision."""
    return str(config.get("model_type", "")).lower().startswith("nemotron_labs_diffusion")


def refuse(config: Config) -> Config:
    """Raise ModelProblem: the model can't be run."""
    raise ModelProblem(
        "Nemotron-Labs-Diffusion can't be run here: its finished blocks attend causally and its open block in both "
        "directions, which no class here computes; SGLang serves it."
    )


FAMILY = Family(
    name="nemotron-labs-diffusion",
    title="Nemotron-Labs-Diffusion",
    examples="refused by name: Nemotron-Labs-Diffusion 3B, 8B, 14B",
    objective=MASKED_DIFFUSION,
    matches=matches,
    native_config=refuse,
    samplers=("low_confidence_dynamic", "low_confidence_static", "confidence_threshold"),
    patterns=(),
    no_pruning="no class here computes its attention",
    export="none",
)
