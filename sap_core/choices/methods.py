"""Pruning methods and patterns by name: one table for specs, pages, command line and documentation. No torch here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InvalidInput, UnknownOption

BLOCK = 128  # SparseGPT: input columns that compete, and are treated between two updates of the rest
COMPARISONS = ("row", "matrix")
UNITS = ("heads", "channels", "layers")  # patterns that take whole parts out of the model
WEIGHTS = ("unstructured", "N:M")
ORDERS = ("sequential", "one_shot")
AUTO = "auto"


@dataclass(frozen=True)
class Method:
    """One row of the table: what the pages show, and the recipe `sap_core.pruning.api` follows.

    ``score``: the formula of METRICS section 4: a key of `sap_core.pruning.scoring.scores.SCORES`, "sparsegpt" (which
    also changes the weights that stay), or "heads".
    ``inputs``: the calibration inputs the score looks at: "none", "clean", or "noised" (partly masked).
    ``sinks``: how tokens that are attention sinks are down-weighted: "none"; "each": by phi of the same noised pass;
    "mean": by phi averaged over the noise levels; "lasting": as each, but sinks that stay count fully.
    ``sequential``: block by block, each block seeing the pruned ones before it; else one-shot on the dense model.
    ``orders``: which of the two can be asked for.
    ``compare``: the weights that compete when no N:M pattern is asked: those of one output "row", of the "matrix", or
    of a "block" of 128 inputs.
    """

    name: str
    title: str
    help: str
    source: str
    patterns: tuple[str, ...] = (*WEIGHTS, *UNITS)
    score: str = "wanda"
    inputs: str = "clean"
    sinks: str = "none"
    sequential: bool = False
    orders: tuple[str, ...] = ("sequential", "one_shot")
    compare: str = "row"

    @property
    def needs_calibration(self) -> bool:
        return self.inputs != "none"

    @property
    def needs_mask_token(self) -> bool:
        return self.inputs == "noised" or self.sinks == "mean"


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
            orders=(),
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
            "ria",
            "Relative importance",
            "A weight's share of its row and of its column, times the root of its input's norm.",
            "Zhang et al., ICLR 2024",
            score="ria",
            sequential=True,
            compare="matrix",
        ),
        Method(
            "taylor",
            "Taylor",
            "Weight times gradient: the loss that is lost, to first order; one-shot movement pruning.",
            "Molchanov et al., arXiv 1906.10771; Sanh et al., arXiv 2005.07683",
            score="taylor",
            inputs="noised",
            orders=("one_shot",),
            compare="matrix",
        ),
        Method(
            "sparsegpt",
            "SparseGPT",
            "Removes by second-order saliency and moves the weights that stay to make up for it.",
            "Frantar & Alistarh, arXiv 2301.00774",
            patterns=WEIGHTS,
            score="sparsegpt",
            sequential=True,
            compare="block",
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
            "sink_sparsegpt",
            "Sink-aware SparseGPT",
            "SparseGPT on clean inputs in which tokens that are sinks under noise count less.",
            "arXiv 2602.17664",
            patterns=WEIGHTS,
            score="sparsegpt",
            sinks="mean",
            sequential=True,
            compare="block",
        ),
        Method(
            "noised_sparsegpt",
            "SparseGPT on noised inputs",
            "SparseGPT whose Hessian is measured on partly masked texts, the inputs that denoising really meets.",
            "this project; arXiv 2301.00774 on the noise of arXiv 2602.17664",
            patterns=WEIGHTS,
            score="sparsegpt",
            inputs="noised",
            sequential=True,
            compare="block",
        ),
        Method(
            "sink_temporal",
            "Sink-aware, lasting sinks kept",
            "Sink-aware, but only sinks that come and go with the noise level count less; those that stay count fully.",
            "this project; the idea of arXiv 2602.17664's abstract",
            inputs="noised",
            sinks="lasting",
        ),
        Method(
            "random",
            "Random",
            "Any weights, drawn by the seed: the floor that every method must beat.",
            "control",
            score="random",
            inputs="none",
            orders=(),
        ),
        Method(
            "flap",
            "Fluctuation",
            "Units whose activations vary least, made up for by a bias that is what they gave on average.",
            "FLAP, arXiv 2312.11983",
            patterns=("heads", "channels"),
            score="flap",
            orders=("one_shot",),
        ),
        Method(
            "heads",
            "Unstable heads",
            "Whole attention heads whose sinks move most: zeroed, or taken out with pattern heads.",
            "instability score, METRICS section 3",
            patterns=("unstructured", "heads"),
            score="heads",
            inputs="none",
            orders=(),
            compare="head",
        ),
    )
}


@dataclass(frozen=True)
class Pattern:
    """``n`` of ``m`` consecutive inputs zeroed; or whole ``unit``s taken out; all None for unstructured."""

    n: int | None = None
    m: int | None = None
    unit: str | None = None

    @property
    def structured(self) -> bool:
        return self.n is not None


def parse_pattern(text: str) -> Pattern:
    """``unstructured``, ``N:M`` with 0 < N < M, or a unit: ``heads``, ``channels``, ``layers``.

    Raises:
        UnknownOption: anything else.
    """
    if text == "unstructured":
        return Pattern()
    if text in UNITS:
        return Pattern(unit=text)
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if not match or not 0 < int(match[1]) < int(match[2]):
        raise UnknownOption("pattern", text, ["unstructured", "2:4", "4:8", *UNITS], hint="Any N:M with N < M is one.")
    return Pattern(int(match[1]), int(match[2]))


def check_combination(
    method: str,
    pattern: str,
    sparsity: float,
    compare: str = AUTO,
    order: str = AUTO,
    allocation: str = "uniform",
    compensate: str = "none",
) -> None:
    """Errors for combinations that would do less than they say.

    Raises:
        InvalidInput: what is not supported together, with what is.
    """
    row, parsed = METHODS[method], parse_pattern(pattern)
    if (parsed.unit or ("N:M" if parsed.structured else pattern)) not in row.patterns:
        raise InvalidInput(f"method '{method}' has no pattern {pattern}; it supports: {', '.join(row.patterns)}.")
    if compensate != "none" and parsed.unit not in ("heads", "channels"):
        raise InvalidInput(f"compensate needs pattern heads or channels, not {pattern}; leave it out.")
    if compensate == "weights" and method == "flap":
        raise InvalidInput("method 'flap' makes up by a bias, which is its own way; leave compensate out.")
    if parsed.unit and order == "sequential":
        raise InvalidInput(f"pattern {pattern} is scored on the dense model; leave order at auto.")
    if order != AUTO and order not in row.orders:
        known = ", ".join(row.orders) or "none, for it does not look at inputs"
        raise InvalidInput(f"method '{method}' has no order '{order}'; it supports: {known}. Leave order at auto.")
    if compare != AUTO and parsed.unit:
        raise InvalidInput(f"pattern {pattern} compares whole {pattern} of a layer; leave compare at auto.")
    if compare != AUTO and (parsed.structured or row.compare not in COMPARISONS):
        raise InvalidInput(
            f"compare is '{compare}' but method '{method}' with pattern {pattern} compares weights within "
            f"{f'{parsed.m} consecutive inputs' if parsed.structured else 'a ' + row.compare}; leave compare at auto."
        )
    _check_allocation(method, pattern, parsed, allocation)
    if not parsed.structured:
        return
    if abs(sparsity - parsed.n / parsed.m) > 1e-9:
        raise InvalidInput(
            f"pattern {pattern} zeroes {parsed.n / parsed.m:g} of the weights but sparsity is {sparsity:g}; "
            f"give --sparsity {parsed.n / parsed.m:g} or pattern unstructured."
        )


def _check_allocation(method: str, pattern: str, parsed: Pattern, allocation: str) -> None:
    """InvalidInput where layers can't lose different shares."""
    if allocation == "uniform":
        return
    if parsed.structured or parsed.unit == "layers" or (method == "heads" and parsed.unit is None):
        fixed = f"pattern {pattern}" if parsed.structured or parsed.unit else "method heads with pattern unstructured"
        raise InvalidInput(
            f"allocation '{allocation}' shares a sparsity among layers, but {fixed} has none to share; it is "
            "supported with patterns unstructured (every method but heads), heads and channels."
        )
    if allocation == "global" and parsed.unit is None:
        raise InvalidInput(
            f"allocation 'global' lets whole units of all layers compete; it is supported with patterns heads and "
            f"channels, not {pattern}."
        )
