"""Numbers of bytes as people read them: the one way that pages, tables and errors write them."""

from __future__ import annotations


def format_bytes(count: float) -> str:
    """Return bytes in powers of 1024: '0 B', '1.5 KiB', '64 MiB'; a dash for None or NaN."""
    if count is None or count != count:
        return "–"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 1023.95 or unit == "TiB":
            break
        count /= 1024
    return f"{count:.0f} B" if unit == "B" else f"{count:.1f}".removesuffix(".0") + f" {unit}"
