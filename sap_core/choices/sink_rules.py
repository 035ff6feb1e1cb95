"""What counts as a sink: the table of rules, each with its default threshold. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import InvalidInput, UnknownOption


@dataclass(frozen=True)
class SinkRule:
    """One row of the table. ``threshold`` is the default, in ``unit``."""

    name: str
    title: str
    help: str
    source: str
    threshold: float
    unit: str


SINK_RULES: dict[str, SinkRule] = {
    rule.name: rule
    for rule in (
        SinkRule(
            "column_sum",
            "Column sum",
            "The attention a position receives, summed over queries, exceeds the mean of the other positions by more "
            "than the threshold. The mean column sum is 1.",
            "Rulli et al., arXiv 2510.15731",
            3.0,
            "column sum above the others' mean",
        ),
        SinkRule(
            "rate",
            "Attention rate",
            "A query that can see the position gives it more than this share of its attention, on average.",
            "Gu et al., arXiv 2410.10781",
            0.3,
            "share of attention",
        ),
        SinkRule(
            "zscore",
            "Z-score",
            "The received attention lies more than this many standard deviations above the mean over positions.",
            "Sink-Aware Pruning, arXiv 2602.17664, public code (there on the sum over layers and heads)",
            2.0,
            "standard deviations",
        ),
    )
}


def rule_threshold(rule: str, threshold: float | None = None) -> float:
    """The threshold to use: the given one, or the rule's default.

    Raises:
        UnknownOption, InvalidInput: as `find_sinks`.
    """
    if rule not in SINK_RULES:
        raise UnknownOption("sink rule", rule, SINK_RULES)
    if threshold is None:
        return SINK_RULES[rule].threshold
    if not math.isfinite(threshold):
        raise InvalidInput(
            f"threshold is {threshold}; expected a finite number, such as {SINK_RULES[rule].threshold:g}."
        )
    return float(threshold)


def check_rule(name: str) -> str:
    """The name of a sink rule, or an error that lists the rules."""
    if name not in SINK_RULES:
        raise UnknownOption("sink rule", name, SINK_RULES)
    return name
