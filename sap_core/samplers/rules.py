"""The denoising rules by name: what each is, where it comes from, what it applies to. No torch here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SamplerRule:
    """One row of the table. ``objective`` is that of the models it samples from; ``run`` is "module:function"."""

    name: str
    title: str
    objective: str  # "masked_diffusion" or "autoregressive"
    help: str
    source: str
    run: str


SAMPLERS: dict[str, SamplerRule] = {
    rule.name: rule
    for rule in (
        SamplerRule(
            "low_confidence",
            "Low-confidence remasking",
            "masked_diffusion",
            "Keeps the tokens the model is surest of at every step, masks the rest again.",
            "LLaDA, arXiv 2502.09992",
            "sap_core.samplers.masked:low_confidence",
        ),
        SamplerRule(
            "random",
            "Random remasking",
            "masked_diffusion",
            "Keeps a random choice of the predicted tokens at every step.",
            "LLaDA, arXiv 2502.09992",
            "sap_core.samplers.masked:random",
        ),
        SamplerRule(
            "autoregressive",
            "Left to right",
            "autoregressive",
            "One token after the other, each from all before it.",
            "",
            "sap_core.samplers.autoregressive:autoregressive",
        ),
    )
}
