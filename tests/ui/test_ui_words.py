"""Numbers and names as people read them."""

from __future__ import annotations

import pytest

from sap_core.jobs.layout import JobStatus
from sap_core.progress import Progress
from sap_core.ui.widgets import formatting
from sap_core.ui.widgets.jobs import progress_share, progress_text


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (999, "999"), (3050, "3.05 K"), (3_100_000, "3.1 M"), (8_030_000_000, "8.03 B")]
)
def test_counts(number, text):
    assert formatting.count(number) == text


def test_one_and_several():
    assert [formatting.many(n, "plan") for n in (0, 1, 2)] == ["0 plans", "1 plan", "2 plans"]
    assert formatting.many(3, "sparsity", "sparsities") == "3 sparsities"


@pytest.mark.parametrize(("number", "text"), [(0, "0 B"), (1536, "1.5 KB"), (5 * 2**30, "5.0 GB")])
def test_sizes(number, text):
    assert formatting.size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (0.44, "0.4 s"), (12.3, "12 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")]
)
def test_durations(seconds, text):
    assert formatting.duration(seconds) == text


def test_moments_and_labels():
    assert formatting.format_time("2026-11-24T03:34:12+00:00") == "24 Nov 03:34"
    assert formatting.format_time("") == ""
    assert formatting.run_label("x", "2026-11-24T03:34:12+00:00", "running") == "x · 24 Nov 03:34 (running)"


def test_an_error_is_one_line_without_markdown():
    assert formatting.plain_error("a\n`b` [c](d) *e*") == "a \\`b\\` \\[c\\](d) \\*e\\*"


def test_progress_is_told_with_speed_and_time_left():
    report = Progress("denoise", 12, 64, "Denoising", {"step_seconds": 0.125})
    running = JobStatus("id", "capture", "running", {}, report, None, "", 0, 0, None, remaining=6.5)
    assert progress_text(running) == "Denoising: 12 of 64 · 8.0 per second · 6.5 s left"
    assert progress_share(running) == pytest.approx(12 / 64)
    assert (
        progress_text(JobStatus("id", "capture", "queued", {}, None, None, "", 0, None, None, ahead=2))
        == "Waiting, 2 before it"
    )
