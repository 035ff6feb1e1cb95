"""Conventions of a model and their origin: causal or not, logits shifted or not, blocks. No torch.

A convention is declared in config.json, known of the model's family, or given by the user, who has the last word. If
none of the three says it, the model is refused with the options that say it: a guess would silently give wrong numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..errors import InvalidInput, ModelProblem
from .family import AUTOREGRESSIVE, MASKED_DIFFUSION, Config, Family

DECLARED, KNOWN, GIVEN = "declared", "family", "given"
OBJECTIVE, SHIFT, BLOCKS = "sap_objective", "sap_shift_logits", "sap_block_size"
PLAIN = ("plain", ":LoadedModel")  # how an adapter is named, or what its name ends with
BLOCK_CAUSAL = ("block_causal", ":BlockCausalModel")
WHOLE_SAMPLERS = ("low_confidence", "random", "confidence_threshold")
BLOCK_SAMPLERS = ("low_confidence_dynamic", "low_confidence_static", "confidence_threshold")
CHECK_HINT = "`sap models MODEL --check` measures which one fits"


@dataclass(frozen=True)
class Given:
    """Conventions given by the user; None where nothing is given. ``block_size`` 0: the whole canvas at once."""

    causal: bool | None = None
    shift_logits: bool | None = None
    block_size: int | None = None

    def declared_in(self, config: Config) -> Config:
        """Return config.json as if it had declared what is given; an export keeps these entries."""
        added: Config = {}
        if self.causal is not None:
            objective = AUTOREGRESSIVE if self.causal else MASKED_DIFFUSION
            added |= {"is_causal": self.causal, OBJECTIVE: objective}
        if self.shift_logits is not None:
            added[SHIFT] = self.shift_logits
        if self.block_size is not None:
            added[BLOCKS] = self.block_size
        return {**config, **added}


@dataclass(frozen=True)
class Convention:
    """One convention: its value and origin: declared (config.json), family, or given (by the user)."""

    value: bool | int | None
    known: str


def conventions_of(
    family: Family, config: Config, given: Given, *, ref: str, mask_declared: bool
) -> dict[str, Convention]:
    """Return ``causal``, ``shift_logits`` and ``block_size`` (None: the whole canvas) of a model.

    Args:
        family: The model's family.
        config: config.json with what is given, as `Given.declared_in` returns it.
        given: What the user gave.
        ref: Name of the model, for errors.
        mask_declared: Whether config.json, the tokenizer or the user names a mask token.

    Raises:
        ModelProblem: nothing says a convention that is needed, or the family contradicts what is given.
        InvalidInput: options that contradict each other.
    """
    _check_types(config, ref)
    causal = family.objective == AUTOREGRESSIVE
    _ask(family, config, ref, mask_declared)
    if given.causal is not None and given.causal != causal:
        kind, option = ("bidirectional", "--causal") if given.causal else ("causal", "--bidirectional")
        raise ModelProblem(f"{ref} is {family.title}, which is {kind}; leave {option} out.")
    attention = Convention(causal, _known(given.causal, config, "is_causal", OBJECTIVE))
    if causal:
        if given.shift_logits is False or given.block_size:
            option = "--no-shift-logits" if given.shift_logits is False else "--block-size"
            raise InvalidInput(
                f"{option} belongs to models that denoise; {ref} is causal, and its row i predicts token i + 1. "
                "Leave it out, or give --bidirectional."
            )
        return {"causal": attention, "shift_logits": Convention(True, KNOWN), "block_size": Convention(None, KNOWN)}
    if not family.has_mask and (given.shift_logits is not None or given.block_size is not None):
        raise ModelProblem(f"{ref} is {family.title}, whose conventions are fixed; leave the options out.")
    shift = config[SHIFT] if SHIFT in config else family.shift_logits(config)
    block = config[BLOCKS] if BLOCKS in config else family.block_size(config)
    return {
        "causal": attention,
        "shift_logits": Convention(bool(shift), _known(given.shift_logits, config, SHIFT)),
        "block_size": Convention(block or None, _known(given.block_size, config, BLOCKS, "block_size", "bd_size")),
    }


def row_with(family: Family, conventions: dict[str, Convention], ref: str) -> Family:
    """Return the family's row with the adapter and samplers for a model of these conventions.

    Raises:
        ModelProblem: blocks, where the class can't be told about them.
    """
    blocks = conventions["block_size"].value is not None
    if blocks and family.adapter.endswith(PLAIN):
        return replace(family, adapter="block_causal", samplers=BLOCK_SAMPLERS)
    if not blocks and family.adapter.endswith(BLOCK_CAUSAL):
        return replace(family, adapter="plain", samplers=WHOLE_SAMPLERS)
    if blocks and family.has_mask and not family.adapter.endswith(BLOCK_CAUSAL):
        raise ModelProblem(f"{ref} is {family.title}, which can't be run in blocks; leave --block-size out.")
    return family


def describe_conventions(conventions: dict[str, Convention]) -> dict[str, str]:
    """Return a readable phrase for each convention: "bidirectional (declared)"."""
    causal, shift, block = (conventions[name] for name in ("causal", "shift_logits", "block_size"))
    blocks = "the whole text" if block.value is None else f"blocks of {block.value} tokens"
    phrases = {
        "attention": ("causal" if causal.value else "bidirectional", causal.known),
        "rows": ("row i predicts token i + 1" if shift.value else "row i predicts token i", shift.known),
    }
    if not causal.value:
        phrases["denoises"] = (blocks, block.known)
    return {name: f"{phrase} ({known})" for name, (phrase, known) in phrases.items()}


def _ask(family: Family, config: Config, ref: str, mask_declared: bool) -> None:
    """Refuse a model whose conventions are unknown, with the options that declare them."""
    declared = OBJECTIVE in config or config.get("is_causal") is not None
    if family.remote_code:
        missing = [] if declared else ["--causal or --bidirectional"]
        if family.objective == MASKED_DIFFUSION:
            missing += [] if SHIFT in config else ["--shift-logits or --no-shift-logits"]
            missing += [] if BLOCKS in config else ["--block-size 0"]
        if missing:
            raise ModelProblem(
                f"{ref} brings its own code, and nothing says how it is to be called: give {', '.join(missing)}, as "
                f"its authors describe it; {CHECK_HINT}."
            )
    elif family.objective == AUTOREGRESSIVE and mask_declared and not declared and not config.get("is_decoder"):
        raise ModelProblem(
            f"{ref} names a mask token, as models that denoise do, and its config.json does not say whether attention "
            f"is causal: give --bidirectional if it denoises, --causal if it writes from left to right; {CHECK_HINT}."
        )


def _check_types(config: Config, ref: str) -> None:
    expected: dict[str, tuple[Any, str]] = {
        OBJECTIVE: (lambda value: value in (AUTOREGRESSIVE, MASKED_DIFFUSION), f"{AUTOREGRESSIVE}, {MASKED_DIFFUSION}"),
        "is_causal": (lambda value: value is None or isinstance(value, bool), "true or false"),
        SHIFT: (lambda value: isinstance(value, bool), "true or false"),
        BLOCKS: (lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0, "0, 1, 2, ..."),
    }
    for name, (fits, words) in expected.items():
        if name in config and not fits(config[name]):
            raise ModelProblem(f"{ref}: config.json says {name}={config[name]!r}; expected {words}.")


def _known(given: Any, config: Config, *names: str) -> str:
    if given is not None:
        return GIVEN
    return DECLARED if any(config.get(name) is not None for name in names) else KNOWN
