"""Text as HTML, each token on the colour of the attention it receives. Text of a model is escaped."""

from __future__ import annotations

from html import escape

from .quantity import share_levels
from .theme import palette
from .view import View, printable

_STYLE = "padding:1px 3px;margin:1px;border-radius:2px;display:inline-block;line-height:1.45;font-size:.9rem"


def shaded_text(view: View, step: int) -> str:
    """Return the canvas after ``step``; masked positions are hatched boxes, tokens of this step are outlined."""
    levels = share_levels(view.times_even[step])
    colours = palette()
    parts = []
    for position, level in enumerate(levels):
        if level == 0 and view.masked[step, position]:
            continue
        background, ink = _paint(colours[level])
        masked = bool(view.masked[step, position])
        word = "&nbsp;&nbsp;&nbsp;" if masked else escape(printable(view.piece(step, position)))
        marks = ";outline:2px solid #FF5A36;outline-offset:-1px" if view.accepted[step, position] else ""
        marks += (
            ";background-image:repeating-linear-gradient(45deg,transparent 0 3px,#ffffff55 3px 5px)" if masked else ""
        )
        title = f"position {position}: {view.share[step, position]:.2%} of attention"
        parts.append(
            f'<span title="{title}" style="{_STYLE};background-color:{background};color:{ink}{marks}">{word}</span>'
        )
    return f'<div role="group" aria-label="text after step {step}, shaded by attention received">{"".join(parts)}</div>'


def _paint(colour: tuple[int, int, int]) -> tuple[str, str]:
    red, green, blue = colour
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 120
    return f"rgb({red},{green},{blue})", "#10151C" if light else "#FFFFFF"
