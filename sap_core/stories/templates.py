"""Match sentences with templates, to read roles out of them.

A template's skeleton is its words with every slot replaced by its word class, so "the {colour} {object}" becomes "the
COLOUR OBJECT". A sentence is matched by skeleton alone; whether the words in the slots are the RIGHT ones is decided
afterwards, so that a wrong word can be found and named.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache

from sap_core.stories import grammar
from sap_core.stories.corpus import ROLE_WORDS, words

#: slot -> word class; his / her / him are one class because "her" is two of them
SLOT_CLASS = {
    "hero": "NAME",
    "colour": "COLOUR",
    "object": "OBJECT",
    "place": "PLACE",
    "animal": "ANIMAL",
    "he": "HE",
    "his": "HIS",
    "him": "HIS",
    "girl": "GIRL",
}
#: slot -> the kind of fault that a wrong word in it is
SLOT_FAULT = {
    slot: {"NAME": "name", "COLOUR": "colour", "OBJECT": "object", "PLACE": "place", "ANIMAL": "animal"}.get(
        kind, "pronoun"
    )
    for slot, kind in SLOT_CLASS.items()
}
WORD_CLASS = {word: SLOT_CLASS[role] for role, listed in ROLE_WORDS.items() for word in listed}
WORD_CLASS |= {"he": "HE", "she": "HE", "his": "HIS", "her": "HIS", "him": "HIS", "girl": "GIRL", "boy": "GIRL"}

_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Pattern:
    """One template: its tokens, each a word or a class, and the slot at each position (None for a plain word)."""

    skeleton: tuple[str, ...]
    slots: tuple[str | None, ...]

    def match(self, tokens: list[str], at: int = 0) -> tuple[tuple[str, str], ...] | None:
        """Return ((slot, word), ...) if the tokens from `at` on have this skeleton, else None."""
        if at + len(self.skeleton) > len(tokens):
            return None
        found = []
        for offset, (wanted, slot) in enumerate(zip(self.skeleton, self.slots, strict=True)):
            token = tokens[at + offset]
            if slot is None:
                if token != wanted:
                    return None
            elif WORD_CLASS.get(token) != wanted:
                return None
            else:
                found.append((slot, token))
        return tuple(found)


@cache
def pattern(template: str) -> Pattern:
    """Return the pattern of a template."""
    skeleton, slots, end = [], [], 0
    for slot in _SLOT.finditer(template):
        plain = words(template[end : slot.start()])
        skeleton += [*plain, SLOT_CLASS[slot[1]]]
        slots += [None] * len(plain) + [slot[1]]
        end = slot.end()
    plain = words(template[end:])
    return Pattern(tuple(skeleton + plain), tuple(slots + [None] * len(plain)))


def match_beat(tokens: list[str], at: int) -> tuple[str, int, tuple[tuple[str, str], ...], int] | None:
    """Return (beat, template number, slots, end) of the template that begins at `at`, or None."""
    by_first = _patterns_by_first_word()
    for key in (tokens[at], WORD_CLASS.get(tokens[at], "")):
        for beat, number, shape in by_first.get(key, ()):
            if (found := shape.match(tokens, at)) is not None:
                return beat, number, found, at + len(shape.skeleton)
    return None


@lru_cache(maxsize=1)
def beat_patterns() -> tuple[tuple[str, int, Pattern], ...]:
    """Return (beat, template number, pattern) of every template, longest first so that no match ends early."""
    found = [
        (beat, i, pattern(template))
        for beat, templates in grammar.BEATS.items()
        for i, template in enumerate(templates)
    ]
    return tuple(sorted(found, key=lambda row: -len(row[2].skeleton)))


@lru_cache(maxsize=1)
def _patterns_by_first_word() -> dict[str, list[tuple[str, int, Pattern]]]:
    by_first: dict[str, list[tuple[str, int, Pattern]]] = {}
    for row in beat_patterns():
        by_first.setdefault(row[2].skeleton[0], []).append(row)
    return by_first
