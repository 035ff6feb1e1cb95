"""The denoising rules by name: what each is, where it comes from, what it applies to. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

MASKED = "masked_diffusion"


@dataclass(frozen=True)
class SamplerRule:
    """One row of the table.

    Attributes:
        objective: That of the models it samples from.
        default_steps: Steps when none are given; None: as many as there are tokens to fill.
        threshold: Default of the confidence at which a token is kept; None for rules without one.
        guidance: Whether classifier-free guidance applies.
    """

    name: str
    title: str
    objective: str  # "masked_diffusion" or "autoregressive"
    help: str
    source: str
    default_steps: int | None = 64
    threshold: float | None = None
    guidance: bool = True


SAMPLERS: dict[str, SamplerRule] = {
    rule.name: rule
    for rule in (
        SamplerRule(
            "low_confidence",
            "Low-confidence remasking",
            MASKED,
            "Keeps the tokens the model is surest of at every step, masks the rest again.",
            "LLaDA, arXiv 2502.09992",
        ),
        SamplerRule(
            "random",
            "Random remasking",
            MASKED,
            "Keeps a random choice of the predicted tokens at every step.",
            "LLaDA, arXiv 2502.09992",
        ),
        SamplerRule(
            "confidence_threshold",
            "Confidence threshold",
            MASKED,
            "Keeps every token that is sure enough, at least one a step; ends early when the model is sure.",
            "Fast-dLLM, arXiv 2505.22618",
            default_steps=None,
            threshold=0.9,
        ),
        SamplerRule(
            "origin",
            "Random opening",
            MASKED,
            "Every mask opens with the probability that the noise schedule gives it.",
            "Dream, arXiv 2508.15487",
        ),
        SamplerRule(
            "maskgit_plus",
            "Highest probability",
            MASKED,
            "Opens the masks with the most probable tokens, as many as the schedule says.",
            "Dream, arXiv 2508.15487; MaskGIT, arXiv 2202.04200",
        ),
        SamplerRule(
            "topk_margin",
            "Widest margin",
            MASKED,
            "Opens the masks whose best token is furthest ahead of the second best.",
            "Dream, arXiv 2508.15487; arXiv 2502.06768",
        ),
        SamplerRule(
            "entropy",
            "Lowest entropy",
            MASKED,
            "Opens the masks whose prediction has least entropy.",
            "Dream, arXiv 2508.15487",
        ),
        SamplerRule(
            "mdlm",
            "Ancestral",
            MASKED,
            "Draws each step from the exact reverse of the masking process.",
            "MDLM, arXiv 2406.07524",
        ),
        SamplerRule(
            "low_confidence_dynamic",
            "Threshold within blocks",
            MASKED,
            "Within the model's blocks, keeps every token that is sure enough, and no fewer than an even share.",
            "SDAR, arXiv 2510.06303",
            default_steps=None,
            threshold=0.85,
        ),
        SamplerRule(
            "low_confidence_static",
            "Even shares within blocks",
            MASKED,
            "Within the model's blocks, keeps the surest tokens, an even share at every step.",
            "SDAR, arXiv 2510.06303",
            default_steps=None,
        ),
        SamplerRule(
            "entropy_bound",
            "Entropy bound",
            MASKED,
            "Accepts the tokens that are sure together and draws the others anew; the model's own generate.",
            "DiffusionGemma; EB-Sampler, arXiv 2505.24857",
            default_steps=48,
            guidance=False,
        ),
        SamplerRule(
            "autoregressive",
            "Left to right",
            "autoregressive",
            "One token after the other, each from all before it.",
            "",
            default_steps=None,
            guidance=False,
        ),
    )
}
