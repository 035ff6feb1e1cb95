"""Text from outside that is only seen: nothing in it moves a cursor, sets a colour or turns a line around."""

from __future__ import annotations

import json
import re

# C0 but tab and line feed, DEL and C1: among them is all that a terminal takes for the start of an escape sequence or
# an OSC link. The marks that change the direction of writing (Unicode Standard Annex #9, 2.1 to 2.6); other line ends;
# tags and surrogates.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """Return a text with its control characters, marks of direction and half characters spelled out, as in Python."""
    return _HIDDEN.sub(lambda found: ascii(found[0])[1:-1], text)


def visible_json(text: str) -> str:
    """Return a JSON document that shows such characters as JSON's own escapes, so that it still says the same."""
    return _HIDDEN.sub(lambda found: json.dumps(found[0])[1:-1], text)
