"""The three rules on rows small enough to work out by hand."""

import numpy as np
import pytest

from sap_core.choices.sink_rules import SINK_RULES, SinkRule, sink_rule
from sap_core.errors import InvalidInput, UnknownOption
from sap_core.sinks.rules import find_sinks


def test_table_has_what_a_page_shows():
    assert list(SINK_RULES) == ["column_sum", "rate", "zscore"]
    assert [row.threshold for row in SINK_RULES.values()] == [3.0, 0.3, 2.0]
    assert all(row.title and row.help and row.source and row.unit for row in SINK_RULES.values())


def test_column_sum_against_the_mean_of_the_others():
    received = np.array([0.44, 0.08, 0.08, 0.08, 0.08, 0.08, 0.08, 0.08])
    # Column sums: 3.52 and seven of 0.64; the first exceeds the others' mean by 2.88.
    assert find_sinks(received, threshold=2.87).tolist() == [True, *[False] * 7]
    assert not find_sinks(received, threshold=2.89).any()
    assert not find_sinks(received).any()
    # Twice as many queries: sums 7.04 and 1.28.
    assert find_sinks(received, queries=16).tolist() == [True, *[False] * 7]


def test_rate_divides_by_the_queries_that_can_see_a_key():
    # Causal, 10 queries: key 2 gets 0.25 of all attention from 8 of them = 0.3125 each; key 9 only from itself.
    received = np.full(10, 0.25 / 7)
    received[[0, 2, 9]] = 0.31, 0.25, 0.10
    received[9] += 1 - received.sum()
    assert find_sinks(received, "rate").tolist() == [True, *[False] * 9]
    visible = np.arange(10, 0, -1)
    assert np.flatnonzero(find_sinks(received, "rate", visible=visible)).tolist() == [0, 2]
    assert not find_sinks(received, "rate", threshold=0.32, visible=visible).any()


def test_zscore_uses_the_population_deviation():
    received = np.array([0.55, *[0.05] * 9])  # mean 0.1, population std 0.15: z of the first is exactly 3
    assert find_sinks(received, "zscore", threshold=2.99).tolist() == [True, *[False] * 9]
    assert not find_sinks(received, "zscore", threshold=3.01).any()


@pytest.mark.parametrize("rule", SINK_RULES)
def test_flat_rows_have_no_sink_and_one_position_neither(rule):
    assert not find_sinks(np.full((3, 4, 37), 1 / 37, np.float32), rule, threshold=0.3).any()
    assert find_sinks(np.ones((2, 1)), rule).shape == (2, 1)


def test_padding_is_never_a_sink_and_counts_in_no_mean():
    # Without the two absent keys the z-score of the first is that of [0.7, 0.1, 0.1, 0.1]: (0.7 - 0.25) / 0.2598.
    received = np.array([0.7, 0.1, 0.1, 0.1, 0.0, 0.0])
    visible = np.array([4, 4, 4, 4, 0, 0])
    kwargs = {"visible": visible, "queries": 4}
    assert find_sinks(received, "zscore", threshold=1.73, **kwargs).tolist() == [True, *[False] * 5]
    assert not find_sinks(received, "zscore", threshold=1.74, **kwargs).any()
    # Column sums 2.8 against a mean of 0.4 over the three others that exist.
    assert find_sinks(received, threshold=2.39, **kwargs)[0] and not find_sinks(received, threshold=2.41, **kwargs)[0]
    assert not find_sinks(np.zeros(6), "column_sum", threshold=-1, **kwargs)[4:].any()


def test_leading_dims_are_independent():
    generator = np.random.default_rng(0)
    received = generator.dirichlet(np.full(12, 0.1), size=(5, 3, 2))
    for rule in SINK_RULES:
        whole = find_sinks(received, rule)
        assert whole.shape == received.shape and whole.any()
        np.testing.assert_array_equal(whole[4, 2, 1], find_sinks(received[4, 2, 1], rule))


def test_unknown_rule_and_bad_threshold():
    with pytest.raises(UnknownOption, match="column_sum, rate, zscore"):
        find_sinks(np.ones(3) / 3, "column")
    with pytest.raises(InvalidInput, match="finite"):
        find_sinks(np.ones(3) / 3, threshold=float("nan"))


def test_a_rule_is_a_value_with_its_threshold():
    assert SinkRule() == SinkRule("column_sum", 3) == sink_rule() and SinkRule("rate").threshold == 0.3
    assert sink_rule("rate", 0.1) == SinkRule("rate", 0.1) and sink_rule(threshold=2.0) == SinkRule("column_sum", 2.0)
    assert SinkRule("zscore").is_default and not SinkRule("zscore", 1).is_default
    received = np.array([0.5, *[0.5 / 9] * 9])
    by_value = find_sinks(received, SinkRule("zscore", 2.99))
    np.testing.assert_array_equal(by_value, find_sinks(received, "zscore", threshold=2.99))


def test_a_rule_that_is_given_has_its_own_threshold():
    with pytest.raises(UnknownOption, match="column_sum, rate, zscore"):
        SinkRule("median")
    with pytest.raises(InvalidInput, match="finite"):
        SinkRule("rate", float("inf"))
    with pytest.raises(InvalidInput, match="has its own"):
        find_sinks(np.ones(3) / 3, SinkRule("rate"), threshold=0.2)
