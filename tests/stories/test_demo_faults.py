"""Each kind of contradiction, put into clean stories, is found and named; clean stories stay clean."""

import itertools
import random

import pytest

from sap_core.stories import grammar
from sap_core.stories.corpus import (
    ROLE_WORDS,
    gender_slots,
    generate,
    generate_stories,
    words,
)
from sap_core.stories.faults import (
    KINDS,
    answer_to,
    story_faults,
    summary_faults,
)

STORIES = [generate(seed, "story") for seed in range(240)]
KIND_OF = {"hero": "name", "colour": "colour", "object": "object", "place": "place", "animal": "animal"}


def kinds(text, **how):
    return {fault.kind for fault in story_faults(text, **how)}


def sentences(story):
    slots = story.roles | gender_slots(story.roles["hero"])
    return [grammar.BEATS[beat][template].format_map(slots) for beat, template in story.beats]


def swap_last(text, old, new):
    """The last mention of a word replaced: the story before it has established the right one."""
    tokens = words(text)
    at = len(tokens) - 1 - tokens[::-1].index(old)
    return " ".join([*tokens[:at], new, *tokens[at + 1 :]])


@pytest.mark.slow
def test_generated_texts_are_clean_in_both_forms():
    for story in generate_stories(1500, seed=100):
        assert story_faults(story.text, strict=True) == []
        assert story_faults(" ".join(words(story.text))) == []
        assert story_faults(f"<bos> {story.text} <eos> <eos> tom") == []


@pytest.mark.parametrize("role", ROLE_WORDS)
def test_a_wrong_entity_is_named(role):
    tried = 0
    for story in STORIES:
        if words(story.text).count(story.roles[role]) < 2:
            continue
        stranger = random.Random(story.seed).choice([w for w in ROLE_WORDS[role] if w not in story.roles.values()])
        tried += 1
        assert KIND_OF[role] in kinds(swap_last(story.text, story.roles[role], stranger))
    assert tried >= 15


def test_a_wrong_pronoun_is_found():
    flip = {"he": "she", "she": "he", "his": "her", "him": "her", "girl": "boy", "boy": "girl"}
    tried = 0
    for story in STORIES:
        for old, new in flip.items():
            if old in words(story.text):
                tried += 1
                assert "pronoun" in kinds(swap_last(story.text, old, new)), (old, story.text)
    assert tried > len(STORIES)


def test_a_missing_end_is_found():
    for story in STORIES:
        tokens = words(story.text)
        assert "end" in kinds(" ".join(tokens[:-3]))
        assert "end" in kinds(" ".join(sentences(story)[:-1]))


def test_events_out_of_order_repeated_left_out_or_foreign_are_found():
    for story, other in itertools.pairwise(STORIES):
        told = sentences(story)
        swapped = [*told[:-3], told[-2], told[-3], told[-1]]
        assert kinds(" ".join(swapped)) & {"order", "plot"}
        assert "order" in kinds(" ".join([*told[:-1], told[-2], told[-1]]))
        always = next(i for i, (beat, _) in enumerate(story.beats) if beat == "journey")
        assert "plot" in kinds(" ".join(told[:always] + told[always + 1 :]))
        if other.plot != story.plot:
            assert "plot" in kinds(" ".join([*told[:-1], sentences(other)[-2], told[-1]]))


def test_other_wording_is_no_fault_but_its_words_are_checked():
    story = STORIES[0]
    told = sentences(story)
    hero, colour, thing = story.roles["hero"], story.roles["colour"], story.roles["object"]
    free = f"well , {hero} was glad about the {colour} {thing} ."
    text = " ".join([*told[:-1], free, told[-1]])
    assert story_faults(text) == []
    assert kinds(text, strict=True) == {"wording"}
    stranger = next(c for c in grammar.COLOURS if c != colour)
    assert kinds(text.replace(f"{hero} was glad about the {colour}", f"{hero} was glad about the {stranger}")) == {
        "colour"
    }
    nobody = next(n for n in grammar.NAMES if n != hero)
    assert kinds(text.replace(f"well , {hero}", f"well , {nobody}")) == {"name"}
    wrong = "he" if hero in grammar.GIRLS else "she"
    assert kinds(text.replace(f"well , {hero}", f"well , {wrong}")) == {"pronoun"}


def test_other_wording_stands_for_one_event():
    story = STORIES[0]
    told = sentences(story)
    at = next(i for i, (beat, _) in enumerate(story.beats) if beat == "journey")
    assert story_faults(" ".join([*told[:at], "then they went away .", *told[at + 1 :]])) == []


@pytest.mark.parametrize("text", ["", ".", "the the the .", "tom", "question: who? answer: tom.", "<mask> <mask>"])
def test_what_is_no_story_has_a_fault_and_never_raises(text):
    assert kinds(text) == {"plot"}


def test_any_shuffled_text_is_read_without_an_error():
    rng = random.Random(0)
    for story in STORIES[:20]:
        tokens = words(generate(story.seed).text)
        rng.shuffle(tokens)
        assert {fault.kind for fault in story_faults(" ".join(tokens), strict=True)} <= set(KINDS)


def test_questions_have_one_answer():
    for seed in range(200):
        story = generate(seed, "question")
        assert answer_to(story.story, story.question) == story.answer
        assert answer_to(story.story, "what colour was the elephant?") is None
        other = story.text[: -len(story.answer)] + "nobody."
        assert kinds(other) == {"answer"}


def test_summaries_are_held_against_the_story():
    for seed in range(200):
        story, other = generate(seed, "summary"), generate(seed + 1, "summary")
        assert summary_faults(story.story, story.summary) == []
        assert summary_faults(story.story, other.summary) != []
        assert [f.kind for f in summary_faults(story.story, "they were happy.")] == ["plot"]
