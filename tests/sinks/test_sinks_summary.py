"""The summary that the command line prints."""

import json

import pytest

from sap_core.errors import InvalidInput, UnknownOption
from sap_core.sinks.summary import sink_summary
from sap_core.trajectory.synthetic import synthetic_trajectory


def test_summary_of_an_alternating_sink():
    found = sink_summary(synthetic_trajectory("alternating", 4, 2, 2, 16, prompt_length=4))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["rule"]["name"] == "column_sum" and found["rule"]["threshold"] == 3
    assert (found["steps"], found["layers"], found["heads"], found["positions"]) == (4, 2, 2, 16)
    assert found["path"] == [0, 8, 0, 8] and found["sinks_per_step"] == [1, 1, 1, 1]
    # The canvas fills from the left, 3 positions a step behind 4: position 8 is a mask at step 1, a word at step 3.
    assert found["path_tokens"] == ["w1", "<mask>", "w1", "w9"]
    assert found["metrics"]["switch_rate"]["mean"] == 1 and found["metrics"]["switch_rate"]["sd_heads"] == 0
    assert [layer["path"] for layer in found["by_layer"]] == [[0, 8, 0, 8]] * 2
    assert [(row["position"], row["sink_share"]) for row in found["sink_positions"]] == [(0, 0.5), (8, 0.5)]
    assert {row["piece"]: row["share"] for row in found["tokens"]} == {"w1": 0.5, "<mask>": 0.25, "w9": 0.25}


def test_no_sink_and_one_step_are_fine():
    for dataset in (synthetic_trajectory("flat"), synthetic_trajectory("fixed", steps=1)):
        json.dumps(sink_summary(dataset, rule="zscore"), allow_nan=False)
    assert sink_summary(synthetic_trajectory("flat"))["tokens"] == []


def test_samples_are_averaged_with_their_spread():
    run = [synthetic_trajectory("fixed"), synthetic_trajectory("alternating")]
    found = sink_summary(run, sample=1)
    assert found["samples"] == 2 and found["path"][:2] == [0, 16]
    assert found["metrics"]["switch_rate"]["mean"] == 0.5
    assert found["metrics"]["switch_rate"]["sd_samples"] == pytest.approx(0.5**0.5)


def test_unknown_rule_and_sample():
    with pytest.raises(UnknownOption, match="zscore"):
        sink_summary(synthetic_trajectory(), rule="z-score")
    with pytest.raises(InvalidInput, match="samples 0 to 0"):
        sink_summary(synthetic_trajectory(), sample=1)
