"""Animations: a frame a step, with the provenance inside, and nothing at all when something is wrong."""

from __future__ import annotations

import json
import subprocess

import pytest
from PIL import Image

from sap_core.choices.sink_rules import SinkRule
from sap_core.errors import InvalidInput
from sap_core.plots.animation import MAP_BOX, SIZE, _ffmpeg, frames, save_animation
from sap_core.plots.figure_files import provenance
from sap_core.plots.quantity import ATTENTION, SINK_RATE
from sap_core.plots.theme import palette
from sap_core.plots.view import make_view
from sap_core.trajectory.synthetic import synthetic_trajectory

ABOUT = provenance("Sink rate = ; # \\ of a run", [], {"layer": 1, "text": "two\nlines"})


@pytest.fixture(scope="module")
def view():
    return make_view(synthetic_trajectory("drifting", 4, 2, 2, 8), sinks=SinkRule("zscore"), with_sink_rate=True)


def test_a_frame_shows_the_map_up_to_its_step(view):
    first, *_, last = frames(view, ABOUT, quantity=ATTENTION)
    assert first.size == SIZE
    left, top, right, bottom = MAP_BOX
    wide, tall = (right - left) / 8, (bottom - top) / 4
    cell = (int(left + 6.25 * wide), int(top + 2.25 * tall))  # step 2, position 6, away from the path
    level = ATTENTION.scale().levels(view.times_even)[2, 6]
    assert last.getpixel(cell) == palette()[level] and first.getpixel(cell) != palette()[level]


def test_gif_and_mp4_hold_every_step_and_the_origin(view, tmp_path):
    made = save_animation(view, tmp_path / "a.gif", ABOUT, quantity=SINK_RATE, fit=True, steps_per_second=10)
    with Image.open(made) as image:
        assert (image.size, image.n_frames) == (SIZE, 4)
        assert image.info["duration"] == 100 and json.loads(image.info["comment"]) == ABOUT
    made = save_animation(view, tmp_path / "a.mp4", ABOUT, quantity=SINK_RATE, steps_per_second=2)
    text = _decoded(made, "ffmetadata").decode().split("comment=", 1)[1].split("\nencoder=")[0]
    plain = "".join(text[i + 1] if letter == "\\" else letter for i, letter in _unescaped(text))
    assert json.loads(plain) == ABOUT
    raw = _decoded(made, "rawvideo", "-pix_fmt", "gray")
    assert len(raw) == (4 + 4) * SIZE[0] * SIZE[1]  # the last is held for 2 seconds


def _decoded(path, kind: str, *options: str) -> bytes:
    command = [_ffmpeg(), "-v", "error", "-i", path, "-f", kind, *options, "-"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def _unescaped(text: str):
    skip = False
    for i, letter in enumerate(text):
        if skip:
            skip = False
        else:
            skip = letter == "\\"
            yield i, letter


def test_a_wrong_ending_or_speed_writes_nothing(view, tmp_path):
    for name, fps, said in (("a.png", 8, "expected one of gif, mp4"), ("a.gif", 0, "expected 0.5 to 50")):
        with pytest.raises(InvalidInput, match=said):
            save_animation(view, tmp_path / name, ABOUT, quantity=SINK_RATE, steps_per_second=fps)
    assert not list(tmp_path.iterdir())
