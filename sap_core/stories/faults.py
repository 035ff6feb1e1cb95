"""Faults of a story: every contradiction in a text, found with the templates that stories are told with.

The kinds of fault:

    name colour object place animal   a word that contradicts what the story said before, or was never introduced
    pronoun                           he/she, his/her/him or girl/boy against the character's name
    order                             an event told twice or too early
    plot                              an event of another plot, a skipped event, or no story at all
    answer                            an answer that is not the one to the question
    end                               no ending: the text stops in the middle of a sentence or before the last event
    wording                           (only when strict) a sentence that no template tells

A sentence that matches no template is not a fault in itself: it may tell its event in other words. Its names, things,
places and pronouns are still checked against the rest of the story; it counts as one event that would otherwise be
missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sap_core.stories import grammar
from sap_core.stories.corpus import (
    ROLE_WORDS,
    gender_slots,
    plot_beats,
    questions_of,
    readable,
    words,
)
from sap_core.stories.templates import (
    SLOT_FAULT,
    WORD_CLASS,
    match_beat,
    pattern,
)

KINDS = ("name", "colour", "object", "place", "animal", "pronoun", "order", "plot", "answer", "end", "wording")
_STOPS = {".", "!", "?"}
_CLASS_FAULT = {"NAME": "name", "OBJECT": "object", "PLACE": "place", "ANIMAL": "animal", "COLOUR": "colour"}


@dataclass(frozen=True)
class Fault:
    """One contradiction: its kind (see `KINDS`) and what was found, in words."""

    kind: str
    message: str


@dataclass
class Reading:
    """A parsed text. `sentences`: (beat or None, template number, ((slot, word), ...), tokens)."""

    sentences: list[tuple[str | None, int, tuple[tuple[str, str], ...], list[str]]] = field(default_factory=list)
    roles: dict[str, str] = field(default_factory=dict)
    plot: str | None = None
    question: list[str] | None = None
    answer: list[str] | None = None
    summary: list[str] | None = None

    @property
    def beats(self) -> tuple[tuple[str, int], ...]:
        """Beat and position of every sentence that has one."""
        return tuple((beat, template) for beat, template, _, _ in self.sentences if beat)


def story_faults(text: str, strict: bool = False) -> list[Fault]:
    """Return every contradiction in a text, in reading order; an empty list for a story that holds together.

    The text may go on with a question and its answer or with a summary; these are checked too. `strict` adds a fault
    of kind "wording" for each sentence that no template tells.
    """
    reading = read_story(text)
    if reading.plot is None:
        return [Fault("plot", "no event of any known story was found")]
    faults = _binding_faults(reading)
    faults += _order_faults(reading)
    faults += _end_faults(reading)
    if strict:
        faults += [
            Fault("wording", f"no template tells: {readable(tokens)}")
            for beat, _, _, tokens in reading.sentences
            if beat is None
        ]
    if reading.summary is not None:
        faults += _summary_faults(reading, reading.summary)
    if reading.question is not None:
        expected = _expected_answer(reading, reading.question)
        if expected is None:
            faults.append(Fault("answer", f"no question about this story: {readable(reading.question)}"))
        elif reading.answer != words(expected):
            faults.append(Fault("answer", f"expected {expected!r}, found {readable(reading.answer or [])!r}"))
    return faults


def summary_faults(story: str, summary: str) -> list[Fault]:
    """Return what contradicts the story in a summary, or Fault("plot") if it tells nothing that happened."""
    return _summary_faults(read_story(story), words(summary))


def answer_to(story: str, question: str) -> str | None:
    """Return the right answer ("blue."), or None for a question that can't be asked about this story."""
    return _expected_answer(read_story(story), words(question))


def read_story(text: str) -> Reading:
    """Return sentences, plot and roles of a text. A role is what its first mention says."""
    for token in ("<bos>", "<pad>"):
        text = text.replace(token, " ")
    tokens = words(text.split("<eos>")[0])
    reading = Reading()
    tokens, reading.question = _cut(tokens, grammar.QUESTION)
    if reading.question is not None:
        reading.question, reading.answer = _cut(reading.question, grammar.ANSWER)
    else:
        tokens, reading.summary = _cut(tokens, grammar.SUMMARY)
    at = 0
    while at < len(tokens):
        if (told := match_beat(tokens, at)) is not None:
            beat, template, found, end = told
        else:
            beat, template, found, end = None, 0, (), _sentence_end(tokens, at)
        reading.sentences.append((beat, template, found, tokens[at:end]))
        at = end
    votes = [plot for plot in grammar.PLOTS for beat, _ in reading.beats if beat.startswith(plot)]
    reading.plot = max(grammar.PLOTS, key=votes.count) if votes else None
    for _, _, found, _ in reading.sentences:
        for slot, word in found:
            if slot in ROLE_WORDS:
                reading.roles.setdefault(slot, word)
    return reading


def _cut(tokens: list[str], marker: str) -> tuple[list[str], list[str] | None]:
    first, colon = words(marker)
    for i in range(len(tokens) - 1):
        if tokens[i] == first and tokens[i + 1] == colon:
            return tokens[:i], tokens[i + 2 :]
    return tokens, None


def _sentence_end(tokens: list[str], at: int) -> int:
    end = next((i + 1 for i in range(at, len(tokens)) if tokens[i] in _STOPS), len(tokens))
    return end + 1 if end < len(tokens) and tokens[end] == "”" else end


def _binding_faults(reading: Reading) -> list[Fault]:
    expected = reading.roles | _known_gender_slots(reading.roles)
    faults = []
    for beat, _, found, tokens in reading.sentences:
        if beat is None:
            faults += _loose_faults(tokens, reading.roles)
        for slot, word in found:
            if slot in expected and word != expected[slot]:
                faults.append(Fault(SLOT_FAULT[slot], f"{word} instead of {expected[slot]}: {readable(tokens)}"))
    return faults


def _known_gender_slots(roles: dict[str, str]) -> dict[str, str]:
    return gender_slots(roles["hero"]) if "hero" in roles else {}


def _loose_faults(tokens: list[str], roles: dict[str, str]) -> list[Fault]:
    """Word by word: in a sentence no template tells, entities must be known ones and pronouns the hero's."""
    known, faults = set(roles.values()), []
    pronouns = set(_known_gender_slots(roles).values())
    for token in tokens:
        kind = WORD_CLASS.get(token)
        if kind in _CLASS_FAULT and token not in known:
            faults.append(Fault(_CLASS_FAULT[kind], f"{token} was never introduced: {readable(tokens)}"))
        elif kind in ("HE", "HIS", "GIRL") and pronouns and token not in pronouns:
            faults.append(Fault("pronoun", f"{token} does not fit {roles['hero']}: {readable(tokens)}"))
    return faults


def _order_faults(reading: Reading) -> list[Fault]:
    order = plot_beats(reading.plot or "")
    position = {beat: i for i, (beat, _) in enumerate(order)}
    faults, reached, untold = [], -1, 0
    for beat, _, _, tokens in reading.sentences:
        if beat is None:
            untold += 1
        elif beat not in position:
            faults.append(Fault("plot", f"does not belong to the plot '{reading.plot}': {readable(tokens)}"))
        elif position[beat] <= reached:
            faults.append(Fault("order", f"told twice or too late: {readable(tokens)}"))
        else:
            faults += _skipped(order[reached + 1 : position[beat]], untold)
            reached, untold = position[beat], 0
    return faults


def _skipped(between: list[tuple[str, bool]], untold: int) -> list[Fault]:
    missing = [beat for beat, always in between if always]
    return [Fault("plot", f"the event '{beat}' was left out") for beat in missing[untold:]]


def _end_faults(reading: Reading) -> list[Fault]:
    beat, _, _, tokens = reading.sentences[-1]
    last = plot_beats(reading.plot or "")[-1][0]
    if tokens[-1] not in _STOPS | {"”"}:
        return [Fault("end", f"the text breaks off: {readable(tokens)}")]
    if beat is not None and beat != last:
        return [Fault("end", f"the story has no ending after: {readable(tokens)}")]
    return []


def _summary_faults(reading: Reading, summary: list[str]) -> list[Fault]:
    for plot, templates in grammar.SUMMARIES.items():
        for shape in map(pattern, templates):
            found = shape.match(summary)
            if found is None or len(shape.skeleton) != len(summary):
                continue
            if plot != reading.plot:
                return [Fault("plot", f"tells of '{plot}' in a story of '{reading.plot}': {readable(summary)}")]
            return [
                Fault(SLOT_FAULT[slot], f"{word} instead of {reading.roles.get(slot)}: {readable(summary)}")
                for slot, word in found
                if reading.roles.get(slot) != word
            ]
    return [Fault("plot", f"a summary that tells nothing that happened: {readable(summary)}")]


def _expected_answer(reading: Reading, question: list[str]) -> str | None:
    if reading.plot is None:
        return None
    for template, answer in questions_of(reading.plot):
        shape = pattern(template)
        found = shape.match(question)
        if found is None or len(shape.skeleton) != len(question):
            continue
        # two questions can share a skeleton ("what colour was the OBJECT?"); the thing asked for decides
        if all(reading.roles.get(slot) == word for slot, word in found):
            try:
                return answer.format_map(reading.roles)
            except KeyError:
                return None
    return None
