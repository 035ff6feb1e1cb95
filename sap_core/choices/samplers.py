"""The table of denoising rules: name, source, and supported models. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

MASKED = "masked_diffusion"
# How tokens are drawn; `sap_core.samplers.denoise.StepContext.draw` has the formulas.
GUMBEL, CATEGORICAL, BEFORE_SHIFT, DREAM = "gumbel", "categorical", "before_shift", "dream"
EndRuleName = Literal["auto", "fill", "stop", "logits_eos_inf", "confidence_eos_eot_inf"]
END_RULES: tuple[str, ...] = get_args(EndRuleName)
FILTERS = ("top_k", "top_p")
CacheName = Literal["none", "prefix", "dual"]  # of `sap_core.models.block_cache`
# Rules that write in order what each block's logits say, which an approximate cache can give.
CACHED = (
    "low_confidence", "random", "confidence_threshold", "origin", "maskgit_plus", "topk_margin", "entropy",
    "entropy_bounded",
)  # fmt: skip
# Native classes that compute a part of a canvas from keys and values that are handed to them.
CACHED_CLASSES = ("llama", "mistral", "qwen2", "qwen3", "qwen3_moe")


@dataclass(frozen=True)
class SamplerRule:
    """One row of the table.

    Attributes:
        objective: That of the models it samples from.
        default_steps: Steps when none are given; None: as many as there are tokens to fill.
        threshold: Default of the confidence at which a token is kept; None for rules without one.
        guidance: Whether classifier-free guidance applies.
        draws: How it draws tokens, or "" for the way of the model's family.
        options: Further settings that it reads, of `CaptureSpec`; one that it does not read is refused.
        entropy_limit, edit_threshold, remasking: Defaults of those settings.
        extra_steps: Whether more steps than tokens make sense.
        blocks: Whether it can write block by block.
    """

    name: str
    title: str
    objective: str  # "masked_diffusion" or "autoregressive"
    help: str
    source: str
    default_steps: int | None = 64
    threshold: float | None = None
    guidance: bool = True
    draws: str = ""
    options: tuple[str, ...] = (*FILTERS, "ends")
    entropy_limit: float | None = None
    edit_threshold: float | None = None
    remasking: float | None = None
    extra_steps: bool = False
    blocks: bool = True


SAMPLERS: dict[str, SamplerRule] = {
    rule.name: rule
    for rule in (
        SamplerRule(
            "low_confidence",
            "Low-confidence remasking",
            MASKED,
            "Keeps the tokens the model is surest of at every step, masks the rest again.",
            "LLaDA, arXiv 2502.09992",
            draws=GUMBEL,
        ),
        SamplerRule(
            "random",
            "Random remasking",
            MASKED,
            "Keeps a random choice of the predicted tokens at every step.",
            "LLaDA, arXiv 2502.09992",
            draws=GUMBEL,
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
            draws=DREAM,
        ),
        SamplerRule(
            "maskgit_plus",
            "Highest probability",
            MASKED,
            "Opens the masks with the most probable tokens, as many as the schedule says.",
            "Dream, arXiv 2508.15487; MaskGIT, arXiv 2202.04200",
            draws=DREAM,
            options=(*FILTERS, "ends", "confidence_temperature"),
        ),
        SamplerRule(
            "topk_margin",
            "Widest margin",
            MASKED,
            "Opens the masks whose best token is furthest ahead of the second best.",
            "Dream, arXiv 2508.15487; arXiv 2502.06768",
            draws=DREAM,
            options=(*FILTERS, "ends", "confidence_temperature"),
        ),
        SamplerRule(
            "entropy",
            "Lowest entropy",
            MASKED,
            "Opens the masks whose prediction has least entropy.",
            "Dream, arXiv 2508.15487",
            draws=DREAM,
            options=(*FILTERS, "ends", "confidence_temperature"),
        ),
        SamplerRule(
            "mdlm",
            "Ancestral",
            MASKED,
            "Draws each step from the exact reverse of the masking process.",
            "MDLM, arXiv 2406.07524",
            draws=GUMBEL,
            options=("ends",),
            extra_steps=True,
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
            "entropy_linear",
            "Lowest entropy, even shares",
            MASKED,
            "Keeps masked the predictions of highest entropy, a part of them that falls evenly.",
            "RND1",
        ),
        SamplerRule(
            "entropy_bounded",
            "Entropy-bounded unmasking",
            MASKED,
            "Opens as many masks at once as are sure together: their entropies without the largest stay below a limit.",
            "EB-Sampler, arXiv 2505.24857; RND1",
            default_steps=None,
            options=(*FILTERS, "ends", "entropy_limit"),
            entropy_limit=0.1,
        ),
        SamplerRule(
            "token_editing",
            "Token editing",
            MASKED,
            "Within blocks, keeps what is sure enough and rewrites written tokens by a second threshold.",
            "LLaDA2.1",
            default_steps=None,
            threshold=0.95,
            draws=CATEGORICAL,
            options=(*FILTERS, "ends", "edit_threshold"),
            edit_threshold=0.9,
        ),
        SamplerRule(
            "p2",
            "Path planning",
            MASKED,
            "Masks the least sure tokens again at every step, written ones among them.",
            "P2, arXiv 2502.03540; Open-dLLM",
            draws=DREAM,
            options=FILTERS,
            extra_steps=True,
            blocks=False,
        ),
        SamplerRule(
            "remdm_cap",
            "ReMDM, capped",
            MASKED,
            "Ancestral sampling that masks written tokens again, each with at most a fixed chance.",
            "ReMDM, arXiv 2503.00307",
            draws=GUMBEL,
            options=("remasking",),
            remasking=0.02,
            extra_steps=True,
            blocks=False,
        ),
        SamplerRule(
            "remdm_rescale",
            "ReMDM, rescaled",
            MASKED,
            "Ancestral sampling that masks written tokens again with a fixed part of the largest chance.",
            "ReMDM, arXiv 2503.00307",
            draws=GUMBEL,
            options=("remasking",),
            remasking=0.05,
            extra_steps=True,
            blocks=False,
        ),
        SamplerRule(
            "remdm_conf",
            "ReMDM, by confidence",
            MASKED,
            "Ancestral sampling that masks written tokens again, the least sure of them most.",
            "ReMDM, arXiv 2503.00307",
            draws=GUMBEL,
            options=(),
            extra_steps=True,
            blocks=False,
        ),
        SamplerRule(
            "remdm_loop",
            "ReMDM, looped",
            MASKED,
            "Ancestral sampling with a middle phase that masks and writes tokens again at a constant rate.",
            "ReMDM, arXiv 2503.00307",
            draws=GUMBEL,
            options=("remasking",),
            remasking=0.02,
            extra_steps=True,
            blocks=False,
        ),
        SamplerRule(
            "entropy_bound",
            "Entropy bound",
            MASKED,
            "Accepts the tokens that are sure together and draws the others anew; the model's own generate.",
            "DiffusionGemma; EB-Sampler, arXiv 2505.24857",
            default_steps=48,
            guidance=False,
            options=(),
        ),
        SamplerRule(
            "autoregressive",
            "Left to right",
            "autoregressive",
            "One token after the other, each from all before it.",
            "",
            default_steps=None,
            guidance=False,
            options=(),
        ),
    )
}
