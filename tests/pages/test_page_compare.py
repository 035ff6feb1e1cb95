"""Compare: none, one, two runs, and the answers to the claims."""

from __future__ import annotations

import pytest
from page_text import words
from sample_runs import capture_run


def test_before_the_first_run_the_recorded_ones_are_compared(page):
    at = page("compare")
    assert not at.exception
    assert r"A: Demo\: stories-ar" in words(at) and r"B: Demo\: stories-diffusion" in words(at)


def test_one_run_with_itself_is_said(page, root):
    run = capture_run(root)
    assert "A and B are the same run" in words(page("compare", a=run.name, b=run.name))


def test_a_steady_and_a_wandering_run(page, root):
    steady = capture_run(root, "fixed", objective="autoregressive", model="demo:stories-ar", steps=24)
    wandering = capture_run(root, "drifting")
    at = page("compare", a=steady.name, b=wandering.name)
    assert [metric.value for metric in at.metric][:2] == ["0.000", "1.000"]
    claims = at.dataframe[0].value
    assert claims["answer"].iloc[0] == "holds" and claims["answer"].iloc[1] == "holds"
    assert list(claims["run"]) == ["B against A", "B against A", "B"]
    assert f"sap compare {steady} {wandering}" in words(at)


def test_the_demo_pair_is_chosen_with_the_autoregressive_one_as_a(page, root):
    capture_run(root, "drifting", name="diffusion")
    capture_run(root, "fixed", objective="autoregressive", model="demo:stories-ar", steps=24, name="causal")
    at = page("compare")
    assert "A: causal" in words(at) and "B: diffusion" in words(at)


@pytest.mark.slow
def test_three_runs_with_intervals_over_their_prompts(page, root):
    steady = capture_run(root, "fixed", samples=3, name="steady")
    capture_run(root, "drifting", name="not chosen")
    mixed = capture_run(root, "mixed", samples=3, name="mixed")
    third = capture_run(root, "alternating", name="third")
    at = page("compare", a=steady.name, b=mixed.name, more=third.name)
    assert "C: third" in words(at) and "not chosen" not in [item.value for item in at.subheader]
    table = at.dataframe[1].value
    assert {"A 95 %", "B 95 %", "C ±", "B - A", "B - A 95 %, over prompts", "C - A 95 %, over heads"} <= set(table)
    assert "Bands are 95 %" in words(at)
    assert third.name in at.query_params["more"]
    assert words(at).count(third.name) >= 1  # in the command and the Python lines
