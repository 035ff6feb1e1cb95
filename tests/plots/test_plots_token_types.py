"""Kinds of token: how they are told apart, and attention by them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sap_core.plots.multiples import layer_multiples
from sap_core.plots.quantity import share_levels
from sap_core.plots.token_types import by_type, type_heatmap
from sap_core.plots.view import make_view
from sap_core.sinks.summary import sink_summary
from sap_core.sinks.token_types import TYPES, token_type, token_types
from sap_core.trajectory.synthetic import synthetic_trajectory


@pytest.mark.parametrize(
    ("piece", "kind"),
    [
        ("once", "content"), ("▁time", "content"), ("Ġ42", "content"), ("日", "content"), (" it's", "content"),
        (".", "punctuation"), ("▁,", "punctuation"), ("...", "punctuation"), ("<", "punctuation"), ("”", "punctuation"),
        (" ", "whitespace"), ("\n\n", "whitespace"), ("Ġ", "whitespace"), ("▁", "whitespace"), ("", "whitespace"),
        ("<eos>", "special"), ("<|endoftext|>", "special"), ("[CLS]", "special"), ("</s>", "special"),
    ],
)  # fmt: skip
def test_kinds_by_text(piece, kind):
    assert token_type(piece) == kind


def test_a_masked_token_is_a_mask_whatever_its_text():
    assert token_type("once", masked=True) == "mask"


@pytest.fixture
def data():
    """16 positions, 4 of the prompt: a word, a full stop, a newline, an end of text; then words, masked at first."""
    data = synthetic_trajectory("fixed", 4, 2, 1, 16, prompt_length=4)
    pieces = json.loads(data.attrs["pieces"]) | {"1": "once", "2": ".", "3": "\n", "4": "<eos>"}
    data.attrs["pieces"] = json.dumps(pieces)
    return data


def test_kinds_of_a_trajectory_are_of_the_tokens_before_the_step(data):
    kinds = token_types(data)
    assert [TYPES[kind] for kind in kinds[0, :5]] == ["content", "punctuation", "whitespace", "special", "mask"]
    assert (kinds == TYPES.index("mask")).sum(axis=1).tolist() == [12, 9, 6, 3]


def test_attention_by_kind_is_the_mean_over_its_tokens(data):
    view = make_view(data, 0)
    each, share, count = by_type(view)
    assert count[0].tolist() == [1, 1, 1, 1, 12] and count[3].tolist() == [10, 1, 1, 1, 3]
    np.testing.assert_allclose(share.sum(axis=1), 1, rtol=1e-6)
    assert each[0, 0] == pytest.approx(16 * 0.5 + 0.5)  # the fixed sink is the word at position 0
    assert each[0, 1] == pytest.approx(0.5)
    data.attrs["pieces"] = json.dumps({str(token): "word" for token in range(1, 17)})
    assert np.isnan(by_type(make_view(data, 0))[0][:, TYPES.index("special")]).all()


def test_the_figures_by_kind_hold_these_numbers(data):
    view = make_view(data, 1)
    each, share, _ = by_type(view)
    heat = type_heatmap(view, step=2).data[0]
    np.testing.assert_array_equal(heat.z, share_levels(each))
    np.testing.assert_allclose(heat.customdata[:, :, 1], share, rtol=1e-6)
    assert list(heat.x) == list(TYPES)
    small = [item for item in layer_multiples(data, kinds=True).data if item.type == "heatmap"]
    assert len(small) == 2 and list(small[0].x) == list(TYPES)
    np.testing.assert_array_equal(small[1].z, share_levels(each))


def test_the_summary_counts_sinks_by_kind_beside_how_common_the_kind_is(data):
    summary = sink_summary(data)
    rows = {row["type"]: row for row in summary["types"]}
    assert rows["content"]["share"] == 1 and rows["mask"]["share"] == 0
    assert rows["mask"]["of_positions"] == pytest.approx((12 + 9 + 6 + 3) / 64)
    assert summary["tokens"][0]["type"] == "content"
