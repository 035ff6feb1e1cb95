"""The table of sink rules, each with its default threshold. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidInput, UnknownOption


@dataclass(frozen=True)
class SinkRuleInfo:
    """One row of the table. ``threshold`` is the default, in ``unit``."""

    name: str
    title: str
    help: str
    source: str
    threshold: float
    unit: str


SINK_RULES: dict[str, SinkRuleInfo] = {
    rule.name: rule
    for rule in (
        SinkRuleInfo(
            "column_sum",
            "Column sum",
            "The attention a position receives, summed over queries, exceeds the mean of the other positions by more "
            "than the threshold. The mean column sum is 1.",
            "Rulli et al., arXiv 2510.15731",
            3.0,
            "column sum above the others' mean",
        ),
        SinkRuleInfo(
            "rate",
            "Attention rate",
            "A query that can see the position gives it more than this share of its attention, on average.",
            "Gu et al., arXiv 2410.10781",
            0.3,
            "share of attention",
        ),
        SinkRuleInfo(
            "zscore",
            "Z-score",
            "The received attention lies more than this many standard deviations above the mean over positions.",
            "Sink-Aware Pruning, arXiv 2602.17664, public code (there on the sum over layers and heads)",
            2.0,
            "standard deviations",
        ),
    )
}


@dataclass(frozen=True)
class SinkRule:
    """A sink rule: a name of `SINK_RULES`, and its threshold (None: the rule's own).

    Raises:
        UnknownOption: no such rule.
        InvalidInput: a threshold that is not a finite number.
    """

    name: str = "column_sum"
    threshold: float = None  # type: ignore[assignment]  # always a number once it is made

    def __post_init__(self) -> None:
        if self.name not in SINK_RULES:
            raise UnknownOption("sink rule", self.name, SINK_RULES)
        value = self.info.threshold if self.threshold is None else float(self.threshold)
        if not math.isfinite(value):
            raise InvalidInput(f"threshold is {value}; expected a finite number, such as {self.info.threshold:g}.")
        object.__setattr__(self, "threshold", value)

    @property
    def info(self) -> SinkRuleInfo:
        """Row of the rule in the table."""
        return SINK_RULES[self.name]

    @property
    def is_default(self) -> bool:
        """Whether the threshold is the rule's own."""
        return self.threshold == self.info.threshold

    def to_dict(self) -> dict[str, Any]:
        """Return name, title, threshold and unit, with the keys of JSON outputs."""
        return {
            "name": self.name,
            "title": self.info.title,
            "threshold": self.threshold,
            "unit": self.info.unit,
        }


DEFAULT_RULE = SinkRule()


def sink_rule(rule: SinkRule | str = DEFAULT_RULE, threshold: float | None = None) -> SinkRule:
    """Return the rule of a public function's arguments: a name and threshold, or a `SinkRule`.

    Raises:
        UnknownOption, InvalidInput: as `SinkRule`; a threshold beside a `SinkRule`, which has its own.
    """
    if not isinstance(rule, SinkRule):
        return SinkRule(rule) if threshold is None else SinkRule(rule, threshold)
    if threshold is None or rule is DEFAULT_RULE:
        return rule if threshold is None else SinkRule(rule.name, threshold)
    raise InvalidInput(f"threshold is {threshold:g}, but {rule} has its own; give one of the two.")
