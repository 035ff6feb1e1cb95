"""Pruning methods and patterns by name: one table for specs, pages, command line and documentation. No torch here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InvalidInput, UnknownOption


@dataclass(frozen=True)
class Method:
    """One row of the table: what the pages show, and the recipe `sap_core.pruning.apply` follows.

    ``score``: the formula of METRICS section 4 (a key of `sap_core.pruning.scores.SCORES`), or "heads".
    ``inputs``: the calibration inputs the score looks at: "none", "clean", or "noised" (partly masked).
    ``sinks``: how tokens that are attention sinks are down-weighted: "none", or "each" (phi of the same noised pass).
    ``sequential``: block by block, each block seeing the pruned ones before it; else one-shot on the dense model.
    ``compare``: the weights that compete when no N:M pattern is asked: those of one output "row" or of the "matrix".
    """

    name: str
    title: str
    help: str
    source: str
    patterns: tuple[str, ...] = ("unstructured", "N:M")
    score: str = "wanda"
    inputs: str = "clean"
    sinks: str = "none"
    sequential: bool = False
    compare: str = "row"

    @property
    def needs_calibration(self) -> bool:
        return self.inputs != "none"

    @property
    def needs_mask_token(self) -> bool:
        return self.inputs == "noised"


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "magnitude",
            "Magnitude",
            "The smallest weights of each matrix.",
            "Han et al., arXiv 1506.02626",
            score="magnitude",
            inputs="none",
            compare="matrix",
        ),
        Method(
            "wanda",
            "Wanda",
            "Weight times the norm of its input, per output row.",
            "Sun et al., arXiv 2306.11695",
            sequential=True,
        ),
        Method(
            "noised_wanda",
            "Wanda on noised inputs",
            "Wanda measured on partly masked texts: the control that isolates what sink-awareness adds.",
            "control; compare arXiv 2605.06366",
            inputs="noised",
        ),
        Method(
            "sink",
            "Sink-aware",
            "Wanda on noised inputs in which tokens that are attention sinks count less.",
            "arXiv 2602.17664",
            inputs="noised",
            sinks="each",
        ),
        Method(
            "heads",
            "Unstable heads",
            "Whole attention heads whose sinks move most, zeroed in the output projection.",
            "instability score, METRICS section 3",
            patterns=("unstructured",),
            score="heads",
            inputs="none",
        ),
    )
}


@dataclass(frozen=True)
class Pattern:
    """``n`` of ``m`` consecutive inputs zeroed; both None for unstructured."""

    n: int | None = None
    m: int | None = None

    @property
    def structured(self) -> bool:
        return self.n is not None


def parse_pattern(text: str) -> Pattern:
    """``unstructured`` or ``N:M`` with 0 < N < M.

    Raises:
        UnknownOption: anything else.
    """
    if text == "unstructured":
        return Pattern()
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if not match or not 0 < int(match[1]) < int(match[2]):
        raise UnknownOption("pattern", text, ["unstructured", "2:4", "4:8"])
    return Pattern(int(match[1]), int(match[2]))


def check_combination(method: str, pattern: str, sparsity: float) -> None:
    """Errors for combinations that would do less than they say."""
    parsed = parse_pattern(pattern)
    if not parsed.structured:
        return
    if "N:M" not in METHODS[method].patterns:
        raise InvalidInput(
            f"method '{method}' has no pattern {pattern}; it supports: {', '.join(METHODS[method].patterns)}."
        )
    if abs(sparsity - parsed.n / parsed.m) > 1e-9:
        raise InvalidInput(
            f"pattern {pattern} zeroes {parsed.n / parsed.m:g} of the weights but sparsity is {sparsity:g}; "
            f"give --sparsity {parsed.n / parsed.m:g} or pattern unstructured."
        )
