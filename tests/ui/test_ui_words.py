"""Numbers and names as people read them."""

from __future__ import annotations

import pytest

from sap_core.byte_size import format_bytes
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


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (1536, "1.5 KiB"), (5 * 2**30, "5 GiB"), (2**20 - 1, "1 MiB")]
)
def test_sizes(number, text):
    assert format_bytes(number) == text


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
    assert formatting.plain_text("a\n`b` [c](d) *e*") == "a \\`b\\` \\[c\\](d) \\*e\\*"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://x.org www.x.org me@x.org", r"https\:J//x.org wwwJ.x.org me@Jx.org"),
        (":smile: :material/home: :red[a]", r"\:Jsmile\: \:Jmaterial/home\: \:red\[a\]"),
        ("a -> b -- c <-> d", r"a -J\> b -J- c \<J-\> d"),
        ("1. x", "1J. x"),
        ("- x", r"\- x"),
        ("&lt; | {a}", r"\&lt; \| \{a\}"),
        ("a\x1bb\u202e", r"a\\x1bb\\u202e"),
        ("demo:stories-ar, 50% of 3.5", r"demo\:stories-ar, 50% of 3.5"),
    ],
)
def test_what_streamlit_looks_for_after_markdown_is_not_found(text, shown):
    assert formatting.plain_text(text) == shown.replace("J", formatting.JOINER)


def test_progress_is_told_with_speed_and_time_left():
    report = Progress("denoise", 12, 64, "Denoising", {"step_seconds": 0.125})
    running = JobStatus("id", "capture", "running", {}, report, None, "", 0, 0, None, remaining=6.5)
    assert progress_text(running) == "Denoising: 12 of 64 · 8.0 per second · 6.5 s left"
    assert progress_share(running) == pytest.approx(12 / 64)
    gone = ("first", "second")
    waiting = JobStatus("id", "capture", "queued", {}, None, None, "", 0, None, None, ahead=2, before=gone)
    assert progress_text(waiting) == "Waiting, 2 before it: one that ended, one that ended"
