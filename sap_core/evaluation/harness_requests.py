"""Generation requests of the lm-evaluation-harness, and how they are batched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any


class Generation:
    """One text to write: ``count`` tokens after ``before``, cut at the first of ``until``."""

    def __init__(
        self, index: int, before: list[int], count: int, until: tuple[str, ...] = (), temperature: float = 0.0
    ) -> None:
        self.index, self.before, self.count = index, before, count
        self.until, self.temperature = until, temperature

    @classmethod
    def of(cls, index: int, request: Any, lm: Any) -> Generation:
        """Read a request of the harness."""
        context, asked = request.args
        until = asked.get("until") or ()
        count = min(int(asked.get("max_gen_toks", lm.max_gen_toks)), lm.max_length - 1)
        before = lm.framing.prompt(context, count)
        warm = float(asked.get("temperature") or 0.0) if asked.get("do_sample") else 0.0
        stops = (until,) if isinstance(until, str) else tuple(until)
        return cls(index, before, count, stops, warm)

    def cut(self, text: str) -> str:
        """Return ``text`` up to the first stop text."""
        for stop in filter(None, self.until):
            text = text.split(stop)[0]
        return text


def batches(asked: list[Generation], alike: Callable, rows: int) -> Iterator[list[Generation]]:
    """Yield groups of requests that can be generated together: alike, longest context first, at most ``rows``."""
    groups: dict[tuple, list[Generation]] = defaultdict(list)
    for one in asked:
        groups[alike(one)].append(one)
    for members in groups.values():
        members.sort(key=lambda one: -len(one.before))
        for start in range(0, len(members), rows):
            yield members[start : start + rows]
