"""Numbers and names as people read them."""

from __future__ import annotations

from datetime import UTC, datetime


def count(number: float) -> str:
    """3050 -> '3.05 K', 3_100_000 -> '3.10 M', 8e9 -> '8.00 B'; below a thousand as it is."""
    for limit, unit in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(number) >= limit:
            return f"{number / limit:.3g} {unit}"
    return f"{number:g}"


def many(number: int, one: str, several: str = "") -> str:
    """'1 plan', '2 plans'; ``several`` where the plural takes more than an s."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def size(number: float) -> str:
    """Bytes in powers of 1024: '12.4 MB'."""
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if abs(number) < 1024 or unit == "TB":
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return ""


def duration(seconds: float | None) -> str:
    """'0.4 s', '12 s', '3 min 05 s', '2 h 10 min'; a dash when unknown."""
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
    """Return an ISO time in UTC -> '24 Nov 03:34'; as it came when it is not one."""
    try:
        return datetime.fromisoformat(created).astimezone(UTC).strftime("%d %b %H:%M")
    except ValueError:
        return created


def run_label(name: str, created: str, state: str) -> str:
    """Return a run in a list: name, time, and its state unless finished."""
    tail = "" if state == "finished" else f" ({state})"
    return f"{name} · {format_time(created)}{tail}"


def plain_error(text: str) -> str:
    """Return an error as one line that Markdown leaves alone."""
    line = " ".join(str(text).split())
    for letter in "\\`*_[]$<>~:#":
        line = line.replace(letter, "\\" + letter)
    return line
