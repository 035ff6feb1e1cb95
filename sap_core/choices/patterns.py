"""Pruning patterns, and the supported combinations of method, pattern, order and allocation. No torch here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InvalidInput, UnknownOption
from .methods import AUTO, COMPARISONS, METHODS, UNITS


@dataclass(frozen=True)
class Pattern:
    """A pattern: ``n`` of ``m`` consecutive inputs zeroed, or whole ``unit``s removed; neither for unstructured."""

    n: int = 0
    m: int = 0
    unit: str | None = None

    @property
    def structured(self) -> bool:
        """Whether whole units are removed."""
        return self.n > 0


def parse_pattern(text: str) -> Pattern:
    """Parse ``unstructured``, ``N:M`` with 0 < N < M, or a unit: ``heads``, ``channels``, ``layers``, ``experts``.

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
    """Raise InvalidInput for combinations that are not supported, naming what is.

    Raises:
        InvalidInput: an unsupported combination.
    """
    entry, parsed = METHODS[method], parse_pattern(pattern)
    if (parsed.unit or ("N:M" if parsed.structured else pattern)) not in entry.patterns:
        raise InvalidInput(f"method '{method}' has no pattern {pattern}; it supports: {', '.join(entry.patterns)}.")
    if compensate != "none" and parsed.unit not in ("heads", "channels"):
        raise InvalidInput(f"compensate needs pattern heads or channels, not {pattern}; leave it out.")
    if compensate == "weights" and method == "flap":
        raise InvalidInput("method 'flap' makes up by a bias, which is its own way; leave compensate out.")
    if parsed.unit and order == "sequential":
        raise InvalidInput(f"pattern {pattern} is scored on the dense model; leave order at auto.")
    if order != AUTO and order not in entry.orders:
        known = ", ".join(entry.orders) or "none, for it does not look at inputs"
        raise InvalidInput(f"method '{method}' has no order '{order}'; it supports: {known}. Leave order at auto.")
    if compare != AUTO and parsed.unit:
        raise InvalidInput(f"pattern {pattern} compares whole {pattern} of a layer; leave compare at auto.")
    if compare != AUTO and (parsed.structured or entry.compare not in COMPARISONS):
        raise InvalidInput(
            f"compare is '{compare}' but method '{method}' with pattern {pattern} compares weights within "
            f"{f'{parsed.m} consecutive inputs' if parsed.structured else 'a ' + entry.compare}; leave compare at auto."
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
    """Raise InvalidInput if layers can't have different sparsities with this method and pattern."""
    if allocation == "uniform":
        return
    if (
        parsed.structured
        or parsed.unit in ("layers", "experts")
        or (METHODS[method].ranks_heads and parsed.unit is None)
    ):
        fixed = (
            f"pattern {pattern}" if parsed.structured or parsed.unit else f"method {method} with pattern unstructured"
        )
        raise InvalidInput(
            f"allocation '{allocation}' shares a sparsity among layers, but {fixed} has none to share; it is "
            "supported with patterns unstructured (every method but heads and measured), heads and channels."
        )
    if allocation == "global" and parsed.unit is None:
        raise InvalidInput(
            f"allocation 'global' lets whole units of all layers compete; it is supported with patterns heads and "
            f"channels, not {pattern}."
        )
