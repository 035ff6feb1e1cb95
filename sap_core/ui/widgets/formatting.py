"""Format numbers and names as text."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from ...visible_text import visible

_MARKDOWN = re.compile(r"[\\`*_\[\]{}$<>~:#&|]")
_LIST_MARK = re.compile(r"^[-+=]")
# Streamlit looks for these in the text that Markdown leaves, where escapes are gone: addresses become links, ":name:"
# an emoji or icon, arrows and dashes other signs. It does not find them around an invisible joiner.
JOINER = "\u2060"
_BREAK_AFTER = re.compile(
    r":(?=//|[\w+/-]+:)|\bwww(?=\.)|(?<=[\w.+-])@(?=[\w-]+\.)|^\d+(?=[.)](?:\s|$))", re.IGNORECASE
)
_BREAK_INSIDE = re.compile(r"(?<!\S)(?:<->|->|<-|--|>=|<=|~=)(?!\S)")


def count(number: float) -> str:
    """Format 3050 as '3.05 K', 3_100_000 as '3.10 M', 8e9 as '8.00 B'; below a thousand unchanged."""
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(number) >= limit:
            return f"{number / limit:.3g} {unit}"
    return f"{number:g}"


def many(number: int, one: str, several: str = "") -> str:
    """Format a number with its noun: '1 plan', '2 plans'; ``several``: an irregular plural."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def duration(seconds: float | None) -> str:
    """Format seconds: '0.4 s', '12 s', '3 min 05 s', '2 h 10 min'; a dash if unknown."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def format_time(created: str) -> str:
    """Format an ISO time in UTC as '24 Nov 03:34'; other text is returned unchanged."""
    try:
        return datetime.fromisoformat(created).astimezone(UTC).strftime("%d %b %H:%M")
    except ValueError:
        return created


def run_label(name: str, created: str, state: str) -> str:
    """Return the label of a run in a list: name, time, and its state unless finished."""
    tail = "" if state == "finished" else f" ({state})"
    return f"{name} · {format_time(created)}{tail}"


def plain_text(text: object) -> str:
    """Return any text as one line that a page shows as it is: no Markdown, link, picture, colour, formula or icon.

    Everything from outside (names, tags, prompts, models, paths, errors) that becomes part of a text or label of
    Streamlit goes through here; `st.text`, `st.code` and tables take it as it is.
    """
    line = visible(" ".join(str(text).split()))
    line = _BREAK_INSIDE.sub(lambda found: found[0][0] + JOINER + found[0][1:], line)
    line = _BREAK_AFTER.sub(lambda found: found[0] + JOINER, line)
    return _LIST_MARK.sub(r"\\\g<0>", _MARKDOWN.sub(r"\\\g<0>", line))
