"""Keep at least one of the heads that attend alike. No torch here.

Heads in a group (`sap_core.sinks.redundant_heads`) do the same work: all but one of them can be removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...errors import InvalidInput

Group = Sequence[tuple[int, int]]  # (layer, head) or (layer, key-value group) pairs
KEEP_ONE, IGNORE = "keep_one", "ignore"


def first_allowed(
    order: Iterable[tuple[int, int]], count: int, per_layer: dict[int, int], groups: Sequence[Group]
) -> list[tuple[int, int]]:
    """Return the first ``count`` heads of ``order`` that may be removed: never the last of a group or of a layer.

    ``per_layer``: heads of each layer. Fewer are returned if no more may be removed.
    """
    left = dict(per_layer)
    members = [set(map(tuple, group)) for group in groups]
    chosen: list[tuple[int, int]] = []
    for head in order:
        if len(chosen) == count:
            break
        mine = [group for group in members if head in group]
        if left[head[0]] > 1 and all(len(group) > 1 for group in mine):
            left[head[0]] -= 1
            for group in mine:
                group.discard(head)
            chosen.append(head)
    return chosen


def keep_one(
    gone: Sequence[Sequence[int]], scores: Sequence[Sequence[float]], groups: Sequence[Group], heads_per_unit: int
) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """Return the removed units, changed so that one unit of every group is kept, and the (layer, unit) kept by this.

    A group that would be lost gets back its highest-scored unit; in its place the lowest-scored unit of the same layer
    that no other group needs is removed, so that every layer loses as many as before.

    Args:
        gone: Units (key-value groups of heads) to remove, per layer.
        scores: Score of every unit, per layer; higher is kept first.
        groups: Near-duplicate heads.
        heads_per_unit: Heads that are removed together.

    Raises:
        InvalidInput: so many units are removed that some group must be lost.
    """
    out = [set(units) for units in gone]
    units = [{(layer, head // heads_per_unit) for layer, head in group} for group in groups]
    saved: list[tuple[int, int]] = []

    def stays(unit: tuple[int, int]) -> bool:
        return unit[1] not in out[unit[0]]

    def needed(unit: tuple[int, int]) -> bool:
        return any(unit in group and sum(map(stays, group)) == 1 for group in units)

    def worth(unit: tuple[int, int]) -> float:
        layer = scores[unit[0]]
        spread = max(layer) - min(layer)
        return (layer[unit[1]] - min(layer)) / spread if spread else 0.0

    for group in units:
        if any(map(stays, group)):
            continue
        for layer, unit in sorted(group, key=lambda one: (-worth(one), one)):
            spare = [
                other for other in range(len(scores[layer])) if stays((layer, other)) and not needed((layer, other))
            ]
            if spare:
                least = min(spare, key=lambda other: scores[layer][other])
                out[layer] = (out[layer] - {unit}) | {least}
                saved.append((layer, unit))
                break
        else:
            raise InvalidInput(
                f"of {len(units)} groups of near-duplicate heads one would lose its last head; take less, or allow it "
                "with duplicates 'ignore'."
            )
    return [sorted(layer) for layer in out], sorted(saved)
