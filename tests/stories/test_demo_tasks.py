"""The three tasks: right answers score, wrong ones do not, and nothing is shown that should be written."""

import itertools

import pytest

from sap_core.errors import UnknownOption
from sap_core.stories.corpus import words
from sap_core.stories.tasks import TASKS, examples


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("infill", [False, True])
def test_the_target_scores_and_nothing_does_not(task, infill):
    for example in examples(task, 40, infill=infill):
        assert example.score(example.target)
        assert example.score(" ".join(words(example.target)) + " <eos> the end")
        assert not example.score("")
        assert example.task == task and example.infill == infill


def test_a_gap_in_a_story_filled_with_full_stops_says_nothing():
    for example in examples("story", 20, infill=True):
        assert not example.score(" ".join("." * example.gap))


@pytest.mark.parametrize("task", TASKS)
def test_another_examples_target_is_wrong(task):
    held_out = examples(task, 60)
    wrong = [a for a, b in itertools.pairwise(held_out) if words(a.target) != words(b.target) and not a.score(b.target)]
    differing = [a for a, b in itertools.pairwise(held_out) if words(a.target) != words(b.target)]
    # what follows a first sentence can by chance fit another one: same gender, same thing
    assert len(wrong) >= len(differing) - (2 if task == "story" else 0) > 40


@pytest.mark.parametrize("task", TASKS)
def test_parts_make_up_the_whole_text(task):
    for infill in (False, True):
        for example in examples(task, 30, infill=infill):
            whole = f"{example.before} {example.target} {example.after}"
            assert words(whole) == words(example.story.text)
            assert len(words(whole)) < example.length <= 128 and example.length % 16 == 0 and example.length >= 64


def test_the_masked_text_has_a_mask_for_each_missing_token():
    for task in TASKS:
        example = examples(task, 1, infill=True)[0]
        assert example.masked_text().count("<mask>") == example.gap
        assert example.masked_text().endswith("<eos>")
    assert examples("story", 1, infill=True)[0].after


def test_examples_are_the_same_for_everyone_and_held_out():
    assert examples("question", 3) == examples("question", 3)
    assert examples("question", 3)[1:] == examples("question", 2, first_seed=500_001)
    assert max(e.story.seed for e in examples("story", 5)) < 1_000_000_000


def test_an_unknown_task_is_refused():
    with pytest.raises(UnknownOption, match=r"[Dd]id you mean"):
        examples("stories", 1)


def test_what_a_story_goes_on_with_is_another_tasks():
    one = examples("story", 1)[0]
    assert one.score(f"{one.target} question: who was the friend of nobody? answer: nobody.")
    unfinished = one.target.rsplit(". ", 1)[0]
    assert not one.score(f"{unfinished}. question: who was the friend of nobody? answer: nobody.")
