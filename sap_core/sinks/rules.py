"""Sink rules by name, and the function that applies them.

Symbols: r_j = received attention of key j, mean over the Q valid queries (sums to 1 over j); S positions.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Shaped

from ..choices.sink_rules import DEFAULT_RULE, SinkRule, sink_rule

MIN_VISIBLE = 8  # `rate` does not judge a causal key that fewer queries see: the last key is seen by itself alone


def find_sinks(
    received: Float[np.ndarray, "*head position"],
    rule: SinkRule | str = DEFAULT_RULE,
    *,
    threshold: float | None = None,
    visible: Shaped[np.ndarray, " ..."] | None = None,
    queries: Shaped[np.ndarray, " ..."] | int | None = None,
) -> Bool[np.ndarray, "*head position"]:
    """Return which positions are sinks, bool (..., S).

    With c_j = Q r_j (column sum) and v_j = the number of queries that can see key j: ``column_sum``: c_j > mean of the
    other c + threshold; ``rate``: c_j / v_j > threshold; ``zscore``: r_j > mean + threshold * population std of r.
    Positions that no query can see (padding, not written yet) are never sinks and are in no mean. Sources: the rows of
    `SINK_RULES`.

    Args:
        received: (..., S), fractions.
        rule: A rule of `SINK_RULES` by name, or a `SinkRule`, which has its threshold.
        threshold: Default: the rule's own.
        visible: int (..., S), broadcast; how many queries can see each key. Default: all Q.
        queries: int (...), broadcast; Q. Default: S.

    Raises:
        UnknownOption: no such rule.
        InvalidInput: a threshold that is not a finite number.
    """
    received = np.asarray(received)
    asked = sink_rule(rule, threshold)
    limit = asked.threshold
    size = received.shape[-1]
    count = np.asarray(size if queries is None else queries)[..., None]
    seen = count if visible is None else np.asarray(visible)
    present = np.broadcast_to(seen > 0, received.shape)
    if asked.name == "rate":
        judged = seen >= np.minimum(MIN_VISIBLE, count)
        return present & judged & (received * count > limit * seen)
    number = present.sum(axis=-1, keepdims=True)
    held = np.where(present, received, 0)
    total = held.sum(axis=-1, keepdims=True)
    if asked.name == "column_sum":
        others = (total - held) / np.maximum(number - 1, 1)
        return present & (count * (held - others) > limit)
    mean, deviation = _mean_std(held, present, total, number)
    # Rounding leaves a deviation of 1e-9 on a flat row: without the margin noise would be a sink.
    return present & (held > mean + limit * deviation + 1e-6 * mean)


def _mean_std(
    held: np.ndarray, present: np.ndarray, total: np.ndarray, number: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    number = np.maximum(number, 1)
    mean = total / number
    variance = (np.where(present, held - mean, 0) ** 2).sum(axis=-1, keepdims=True) / number
    return mean, np.sqrt(variance)
