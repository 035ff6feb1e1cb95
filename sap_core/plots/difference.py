"""Two texts word by word, as escaped HTML with what differs marked."""

from __future__ import annotations

from difflib import SequenceMatcher
from html import escape

_BOX = "border:1px solid #8a97a655;border-radius:4px;padding:10px 12px;line-height:1.6;font-size:.93rem"
_MARK = "background:#D55E0033;border-bottom:2px solid #D55E00;border-radius:2px;padding:0 1px"


def differing_words(first: str, second: str) -> tuple[str, str]:
    """Return both texts with the words outside the longest common subsequence marked (colour and underline)."""
    a, b = first.split(), second.split()
    sides: tuple[list[str], list[str]] = ([], [])
    for operation, a0, a1, b0, b1 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        for side, tokens in ((sides[0], a[a0:a1]), (sides[1], b[b0:b1])):
            if tokens:
                text = escape(" ".join(tokens))
                side.append(text if operation == "equal" else f'<mark style="{_MARK};color:inherit">{text}</mark>')
    return tuple(f'<div style="{_BOX}">{" ".join(side) or "(nothing)"}</div>' for side in sides)  # type: ignore[return-value]
