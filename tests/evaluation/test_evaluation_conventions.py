"""The check finds the convention a model was trained with, on the demo models, whose conventions are known."""

from __future__ import annotations

import pytest

from sap_core.errors import InvalidInput
from sap_core.evaluation.conventions import check_conventions


@pytest.mark.slow
def test_the_shift_of_the_demo_is_found_when_it_is_denied():
    report = check_conventions("demo:stories-diffusion", shift_logits=False)
    used = next(reading for reading in report.readings if reading.in_use)
    assert not used.shift_logits
    assert report.better.shift_logits
    assert used.nats > report.better.nats + 5
    assert "far better than what is in use" in report.verdict


@pytest.mark.slow
def test_the_demo_as_it_is_is_left_alone():
    report = check_conventions("demo:stories-ar")
    assert report.better is None
    assert report.readings[0].in_use
    assert report.readings[0].causal


def test_texts_of_another_alphabet_say_nothing(tmp_path):
    (tmp_path / "texts.txt").write_text("δοκιμή κειμένου\n" * 40)
    with pytest.raises(InvalidInput, match="unknown to the tokenizer"):
        check_conventions("demo:stories-diffusion", text=str(tmp_path / "texts.txt"))
