"""Options of samplers."""

from __future__ import annotations

from pydantic import field_validator

from ..choices.samplers import SAMPLERS, CacheName, EndRuleName
from ..errors import InvalidInput, UnknownOption
from .base import AUTO, SEED, SEEDS, Spec
from .options import option

HOTTEST = 1e4  # beyond, draws are uniform and float32 overflows


class SamplingOptions(Spec):
    """Options of samplers; part of every spec that generates."""

    length: int = option(128, "Tokens in all, prompt included.", ge=1)
    steps: int | None = option(
        None,
        "Denoising steps; autoregressive: tokens to generate.",
        shown="64, or all tokens if fewer",
        offered=(1, None),
    )
    sampler: str = option(AUTO, f"One of {', '.join(SAMPLERS)}.", shown="the model's own")
    block_length: int | None = option(None, "Tokens per semi-autoregressive block.", shown="one block", ge=1)
    temperature: float = option(0.0, "0 is greedy.", ge=0.0, le=HOTTEST)
    guidance: float = option(0.0, "Classifier-free guidance; 0 is off.", ge=0.0, le=HOTTEST)
    threshold: float | None = option(
        None, "Confidence that keeps a token, for threshold samplers.", shown="its own", gt=0.0, le=1.0
    )
    top_k: int | None = option(None, "Draw among the k likeliest tokens; 0: all.", shown="the family's own", ge=0)
    top_p: float | None = option(None, "Draw among the likeliest tokens that sum to this probability.", gt=0.0, le=1.0)
    confidence_temperature: float | None = option(
        None, "Dream's alg_temp: which masks open is drawn instead of ranked; 0 ranks.", ge=0.0, le=HOTTEST
    )
    ends: EndRuleName = option(
        AUTO,
        "What an end token does: fill goes on; stop begins no further block; logits_eos_inf forbids it; "
        "confidence_eos_eot_inf writes it last; auto: stop for models that write blocks, else fill.",
    )
    entropy_limit: float | None = option(None, "Sampler entropy_bounded: gamma.", shown="its own, 0.1", ge=0.0)
    edit_threshold: float | None = option(
        None, "Sampler token_editing: confidence that rewrites a token.", shown="its own, 0.9", gt=0.0, le=1.0
    )
    remasking: float | None = option(
        None, "Samplers remdm_...: eta, how much is masked again.", shown="the sampler's own", ge=0.0, le=1.0
    )
    cache: CacheName = option(
        "none",
        "Fast-dLLM's caches, approximate: they change the tokens. prefix keeps what stands before a block as it was "
        "when the block began; dual also what stands behind it.",
    )
    seed: int = option(0, SEED, offered=SEEDS)

    @field_validator("steps")
    @classmethod
    def _steps(cls, value: int | None) -> int | None:
        if value is not None and value < 1:
            raise InvalidInput(f"steps is {value}; at least 1 denoising step is needed.")
        return value

    @field_validator("sampler")
    @classmethod
    def _sampler(cls, value: str) -> str:
        if value != AUTO and value not in SAMPLERS:
            raise UnknownOption("sampler", value, [AUTO, *SAMPLERS])
        return value
