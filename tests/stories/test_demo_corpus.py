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
from sap_core.stories.tokenizer import CONTEXT

STORIES = generate_stories(1500, seed=7)


def test_a_seed_is_a_story():
    assert generate(11) == generate(11)
    assert generate(11).text != generate(12).text
    assert [s.seed for s in generate_stories(3, seed=5)] == [5, 6, 7]


def test_stories_have_40_to_110_tokens_and_texts_fit_the_context():
    lengths = [len(words(s.story)) for s in STORIES]
    assert 40 <= min(lengths) and max(lengths) <= 110
    assert 55 < sum(lengths) / len(lengths) < 75
    assert max(s.n_tokens for s in STORIES) <= 128 < CONTEXT


def test_every_plot_and_task_occurs_in_its_share():
    n = len(STORIES)
    for task, share in grammar.TASKS.items():
        assert sum(s.task == task for s in STORIES) / n == pytest.approx(share, abs=0.05)
    for plot in grammar.PLOTS:
        assert sum(s.plot == plot for s in STORIES) / n == pytest.approx(1 / len(grammar.PLOTS), abs=0.04)


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


def test_the_shares_of_the_wordings_are_probabilities():
    used = {len(templates) for templates in (*grammar.BEATS.values(), *grammar.SUMMARIES.values())}
    assert used <= set(grammar.SHARES)
    for count, shares in grammar.SHARES.items():
        assert len(shares) == count and sum(shares) == pytest.approx(1)
        assert list(shares) == sorted(shares, reverse=True)


def test_information_content_by_hand():
    """A story alone of the plot 'lost': its choices counted here, not by the generator."""
    story = next(s for s in STORIES if s.task == "story" and s.plot == "lost")
    cast = math.log(10) + math.log(6) + 3 * math.log(8)
    optional = [beat for beat, always in plot_beats("lost") if not always]
    told = {beat for beat, _ in story.beats}
    telling = sum(math.log(0.3 if beat in told else 0.7) for beat in optional)
    wording = {2: (0.6, 0.4), 3: (0.5, 0.3, 0.2)}
    telling += sum(math.log(wording[len(grammar.BEATS[beat])][template]) for beat, template in story.beats)
    assert story.nats == pytest.approx(-math.log(0.4) + math.log(5) + cast - telling)


def test_entropy_rate_is_the_ratio_of_the_means():
    rate = entropy_rate(200)
    assert rate["nats_per_token"] == pytest.approx(rate["nats_per_text"] / rate["tokens_per_text"])
    other = entropy_rate(200, first_seed=10_000)
    assert abs(rate["nats_per_token"] - other["nats_per_token"]) < 6 * rate["standard_error"]


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
