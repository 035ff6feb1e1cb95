"""More and more heads left out: in the order of each ranking, in random orders, and by greedy addition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ..evaluation.likelihood import ScoredPass
from ..progress import Progress, ProgressCallback
from ..pruning.planning.redundant_heads import first_allowed
from ..sinks.intervals import mean_interval, ratio_interval
from .head_losses import HeadLosses
from .records import Records

Head = tuple[int, int]
POINTS = 6
RANDOM_ORDERS = 5
CANDIDATES = 8  # least harmful heads that compete for each place of a greedy group


def orders_of(
    values: Mapping[str, Float[np.ndarray, " head"]], heads: Sequence[Head], seed: int
) -> dict[str, list[Head]]:
    """Return, for each ranking and `RANDOM_ORDERS` random ones, the heads in the order in which they go.

    Lowest value first; the last head of a layer never goes. ``values``: high where a head should stay.
    """
    random = np.random.default_rng(seed)
    all_orders = dict(values) | {f"random-{number}": random.random(len(heads)) for number in range(RANDOM_ORDERS)}
    per_layer = {layer: sum(1 for where, _ in heads if where == layer) for layer, _ in heads}
    result = {}
    for name, value in all_orders.items():
        ranked = [heads[place] for place in np.argsort(value, kind="stable")]
        result[name] = first_allowed(ranked, len(heads), per_layer, ())
    return result


def curve_points(heads: int) -> list[int]:
    """Return how many heads are left out at the points of a curve: up to half of them."""
    return sorted({max(1, round(share * heads / 2)) for share in np.linspace(1 / POINTS, 1, POINTS) ** 1.5})


def curves(
    losses: HeadLosses,
    passes: Sequence[ScoredPass],
    orders: Mapping[str, list[Head]],
    records: Records,
    counted: Int[np.ndarray, " text"],
    progress: ProgressCallback,
) -> list[dict[str, Any]]:
    """Return the paired loss difference of each ranking at each point; the random orders as their mean and interval.

    [{"ranking", "points": [{"heads", "difference"}]}]; of "random" the interval is over the orders.
    """
    points = curve_points(len(next(iter(orders.values()))))
    points = [point for point in points if point <= min(map(len, orders.values()))]
    extra = set_losses(
        losses,
        passes,
        {f"{name}:{point}": order[:point] for name, order in orders.items() for point in points},
        records,
        "curve",
        len(counted),
        progress,
        "Curves",
    )
    found: list[dict[str, Any]] = []
    random: dict[int, list[float]] = {point: [] for point in points}
    for name in orders:
        rows = []
        for point in points:
            difference = ratio_interval(extra[f"{name}:{point}"], counted).named("nats_per_token")
            rows.append({"heads": point, "difference": difference})
            if name.startswith("random-"):
                random[point].append(difference["nats_per_token"])
        if not name.startswith("random-"):
            found.append({"ranking": name, "points": rows})
    rows = []
    for point, values in random.items():
        one = mean_interval(np.array(values), "orders")
        difference = {"nats_per_token": one.value, "standard_error": None, "low": one.low, "high": one.high}
        rows.append({"heads": point, "difference": difference})
    return [*found, {"ranking": "random", "points": rows}]


def greedy_group(
    losses: HeadLosses,
    passes: Sequence[ScoredPass],
    damage: Float[np.ndarray, " head"],
    heads: Sequence[Head],
    size: int,
    records: Records,
    texts: int,
    progress: ProgressCallback,
) -> list[Head]:
    """Return ``size`` heads that can go together: one at a time, that which then raises the loss least.

    At each place the `CANDIDATES` heads compete whose own damage is least among those left. The last head of a layer
    never goes.
    """
    chosen: list[Head] = []
    left = {layer: sum(1 for where, _ in heads if where == layer) for layer, _ in heads}
    ranked = [heads[place] for place in np.argsort(damage, kind="stable")]
    for place in range(size):
        some = [head for head in ranked if head not in chosen and left[head[0]] > 1][:CANDIDATES]
        if not some:
            break
        sets = {f"{layer}.{head}": [*chosen, (layer, head)] for layer, head in some}
        extra = set_losses(
            losses,
            passes,
            sets,
            records,
            f"greedy-{place}",
            texts,
            progress,
            f"Greedy group: head {place + 1} of {size}",
        )
        best = min(some, key=lambda one: float(extra[f"{one[0]}.{one[1]}"].sum()))
        left[best[0]] -= 1
        chosen.append(best)
    return chosen


def set_losses(
    losses: HeadLosses,
    passes: Sequence[ScoredPass],
    sets: Mapping[str, Sequence[Head]],
    records: Records,
    name: str,
    texts: int,
    progress: ProgressCallback,
    message: str,
) -> dict[str, Float[np.ndarray, " text"]]:
    """Return the extra nats of every text without each set of heads; what is stored is not measured again."""
    sums = {key: np.zeros(texts) for key in sets}
    draws = np.zeros(texts)
    total = len(passes) * len(sets)
    for number, some in enumerate(passes):

        def measure(some: ScoredPass = some, number: int = number) -> dict[str, Any]:
            before = losses.begin(some)
            found = {}
            for done, (key, heads) in enumerate(sets.items()):
                found[key] = losses.without(heads) - before
                progress(Progress(name, number * len(sets) + done + 1, total, message))
            return found

        found = records.get(f"{name}-{number:05d}", measure)
        for key in sets:
            np.add.at(sums[key], some.texts, np.asarray(found[key]))
        np.add.at(draws, some.texts, 1.0)
    return {key: value / np.maximum(draws, 1) for key, value in sums.items()}
