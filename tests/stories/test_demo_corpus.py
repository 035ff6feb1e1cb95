"""The generator: exact information content, lengths, tasks, and a text that tells its choices."""

import math
from itertools import pairwise

import pytest

from sap_core.errors import InvalidInput
from sap_core.stories import grammar
from sap_core.stories.corpus import (
    ROLE_WORDS,
    entropy_rate,
    generate,
    generate_stories,
    plot_beats,
    readable,
    vocabulary,
    words,
)
from sap_core.stories.faults import read_story
from sap_core.stories.templates import WORD_CLASS, beat_patterns, pattern

STORIES = generate_stories(1500, seed=7)


def test_a_seed_is_a_story():
    assert generate(11) == generate(11)
    assert generate(11).text != generate(12).text
    assert [s.seed for s in generate_stories(3, seed=5)] == [5, 6, 7]


def test_stories_have_100_to_200_words_and_fit_the_context():
    assert min(len(s.story.split()) for s in STORIES) >= 100
    assert max(len(s.story.split()) for s in STORIES) <= 200
    assert max(s.n_tokens for s in STORIES) < 256


def test_the_shortest_story_that_can_be_told_has_100_words():
    for plot in grammar.PLOTS:
        shortest = sum(
            min(len(template.split()) for template in grammar.BEATS[beat])
            for beat, always in plot_beats(plot)
            if always
        )
        assert shortest >= 100, plot


def test_every_plot_and_task_occurs_in_its_share():
    n = len(STORIES)
    for task, share in grammar.TASKS.items():
        assert sum(s.task == task for s in STORIES) / n == pytest.approx(share, abs=0.05)
    for plot in grammar.PLOTS:
        assert sum(s.plot == plot for s in STORIES) / n == pytest.approx(1 / 6, abs=0.04)


def test_the_text_tells_every_choice():
    """With distinct skeletons and every role named, p(text) is p(choices): the entropy is exact, not a bound."""
    for story in STORIES:
        reading = read_story(story.text)
        assert (reading.plot, reading.roles, reading.beats) == (story.plot, story.roles, story.beats)
    skeletons = [shape.skeleton for _, _, shape in beat_patterns()]
    assert len(set(skeletons)) == len(skeletons)
    for templates in grammar.SUMMARIES.values():
        assert len({pattern(t).skeleton for t in templates}) == len(templates)


def test_every_role_is_named_in_every_story_of_every_plot():
    for plot in grammar.PLOTS:
        named = set()
        for beat, always in plot_beats(plot):
            if always:
                named |= set.intersection(*({s for s in pattern(t).slots if s} for t in grammar.BEATS[beat]))
        assert set(ROLE_WORDS) <= named, plot


def test_no_template_word_is_an_entity():
    plain = {
        w
        for _, _, shape in beat_patterns()
        for w, slot in zip(shape.skeleton, shape.slots, strict=True)
        if slot is None
    }
    assert not plain & set(WORD_CLASS)


def test_information_content_by_hand():
    """A story alone of the plot 'lost': its choices counted here, not by the generator."""
    story = next(s for s in STORIES if s.task == "story" and s.plot == "lost")
    cast = math.log(12 * 11) + math.log(8 * 7) + math.log(12 * 11) + math.log(10 * 9) + math.log(10)
    optional = [beat for beat, always in plot_beats("lost") if not always]
    told = {beat for beat, _ in story.beats}
    p_told = (1 - grammar.BRIEF) * 0.5 ** len(optional) + (grammar.BRIEF if not told & set(optional) else 0)
    telling = sum(math.log(len(grammar.BEATS[beat])) for beat, _ in story.beats)
    assert story.nats == pytest.approx(-math.log(0.25) + math.log(6) + cast - math.log(p_told) + telling)


def test_entropy_rate_is_the_ratio_of_the_means():
    rate = entropy_rate(200)
    assert rate["nats_per_token"] == pytest.approx(rate["nats_per_text"] / rate["tokens_per_text"])
    other = entropy_rate(200, first_seed=10_000)
    assert abs(rate["nats_per_token"] - other["nats_per_token"]) < 6 * rate["standard_error"]


def test_two_roles_of_one_kind_differ():
    for story in STORIES:
        for a, b in (("hero", "friend"), ("colour", "colour2"), ("object", "object2"), ("home", "place")):
            assert story.roles[a] != story.roles[b]


def test_readable_text_and_words_are_inverse():
    for story in STORIES[:300]:
        assert readable(words(story.text)) == story.text
        assert not any(mark in story.text for mark in (" .", " ,", "“ ", " ”"))


def test_vocabulary_is_sorted_and_complete():
    listed = vocabulary()
    assert list(listed) == sorted(set(listed)) and 200 <= len(listed) <= 400
    assert {w for s in STORIES for w in words(s.text)} <= set(listed)
    assert all(a < b for a, b in pairwise(listed))


def test_a_wrong_task_or_number_is_refused():
    with pytest.raises(InvalidInput, match="story, question, summary"):
        generate(0, task="poem")
    with pytest.raises(InvalidInput, match="negative"):
        generate_stories(-1)
