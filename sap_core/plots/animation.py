"""A run as an animation: its text and its map, step by step, as GIF or MP4."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidInput, OperationFailed
from ..storage.output import Output
from .figure_files import figure_output, origin_line
from .print_version import INK, PAPER, QUIET
from .quantity import Quantity, Scale, share_levels
from .theme import CASING, CURSOR, FRONTIER, PATH, SINK, palette
from .view import View, printable

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

ANIMATIONS = ("gif", "mp4")
SIZE = (1280, 720)  # even numbers, which the video's colours need
EMPTY = "#E3E8ED"  # steps that are still to come
TEXT_BOX = (40, 96, 600, 640)  # left, top, right, bottom
MAP_BOX = (690, 96, 1240, 580)
BAR_BOX = (690, 626, 1240, 638)
HOLD_SECONDS = 2  # the last frame
FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial.ttf", "Helvetica.ttc", "LiberationSans-Regular.ttf")


def save_animation(
    view: View,
    path: str | Path | Output,
    about: dict[str, Any],
    *,
    quantity: Quantity,
    fit: bool = False,
    steps_per_second: float = 8,
) -> Path:
    """Write every step of a run as a frame: the text after the step beside the map up to it.

    The provenance is on every frame, and in the file: as the comment of the GIF, in the metadata of the MP4.

    Args:
        view: What to draw.
        path: A file ending in .gif or .mp4, or what `figure_output` reserved.
        about: From `provenance`.
        quantity: What the map shows.
        fit: The colours of the map span its values instead of the quantity's own range.
        steps_per_second: From 0.5 to 50; a GIF counts in hundredths of a second.

    Raises:
        InvalidInput: another suffix or speed.
        OperationFailed: Pillow or FFmpeg is missing (`pip install 'sap-studio[figures]'`), or the disk is full.
    """
    if not 0.5 <= steps_per_second <= 50:
        raise InvalidInput(f"fps is {steps_per_second:g}; expected 0.5 to 50 steps a second.")
    with figure_output(path, ANIMATIONS) as output:
        kind = output.target.suffix.lstrip(".").lower()
        images = frames(view, about, quantity=quantity, fit=fit)
        (_write_gif if kind == "gif" else _write_mp4)(images, output.part, about, steps_per_second)
        return output.publish()


def frames(view: View, about: dict[str, Any], *, quantity: Quantity, fit: bool = False) -> Iterator[Image]:
    """Yield one RGB image of `SIZE` per step."""
    pillow = _pillow()
    values = quantity.values(view)
    scale = quantity.scale(values if fit else None)
    colours = np.array(palette(), np.uint8)
    levels, text_levels = scale.levels(values), share_levels(view.times_even)
    font = _text_font(view)
    for step in range(view.steps):
        image = pillow.Image.new("RGB", SIZE, PAPER)
        draw = pillow.ImageDraw.Draw(image)
        _labels(draw, view, about, scale, step)
        _text(draw, view, step, colours[text_levels[step]], font)
        _map(image, draw, view, step, np.where(levels[..., None] > 0, colours[levels], 255).astype(np.uint8))
        yield image


def _labels(draw: Any, view: View, about: dict[str, Any], scale: Scale, step: int) -> None:
    left, top, right, bottom = MAP_BOX
    draw.text((40, 22), _shortened(about["title"], 90), INK, _font(22))
    draw.text((40, 62), f"Text after step {step} of {view.steps_total - 1}", QUIET, _font(16))
    fitted = ", colours fitted to this view" if scale.fitted else ""
    draw.text((left, 62), f"{scale.quantity.title.capitalize()} ({scale.quantity.unit}){fitted}", QUIET, _font(16))
    small = _font(13)
    for place in np.unique(np.linspace(0, view.positions - 1, 6).round().astype(int)):
        draw.text((left + (place + 0.5) * (right - left) / view.positions, bottom + 4), str(place), QUIET, small, "ma")
    for row in np.unique(np.linspace(0, view.steps - 1, 6).round().astype(int)):
        draw.text((left - 6, top + (row + 0.5) * (bottom - top) / view.steps), str(row), QUIET, small, "rm")
    draw.text(((left + right) / 2, bottom + 20), "position (tokens) across, step downwards", QUIET, small, "ma")
    bar_left, bar_top, bar_right, bar_bottom = BAR_BOX
    table = palette()
    for x in range(bar_left, bar_right):
        level = 1 + round(254 * (x - bar_left) / (bar_right - bar_left - 1))
        draw.line((x, bar_top, x, bar_bottom), table[level])
    for level, label in scale.ticks().items():
        draw.text((bar_left + (level - 1) / 254 * (bar_right - bar_left), bar_bottom + 4), label, QUIET, small, "ma")
    draw.text((40, SIZE[1] - 28), _shortened(origin_line(about), 170), QUIET, small)


def _map(image: Image, draw: Any, view: View, step: int, pixels: np.ndarray) -> None:
    left, top, right, bottom = MAP_BOX
    wide, tall = (right - left) / view.positions, (bottom - top) / view.steps
    draw.rectangle(MAP_BOX, EMPTY)
    drawn = _pillow().Image.fromarray(pixels[: step + 1]).resize(
        (right - left, max(1, round((step + 1) * tall))), resample=0
    )  # fmt: skip
    image.paste(drawn, (left, top))
    for row, place in zip(*np.nonzero(view.accepted[: step + 1]), strict=True):
        y = top + (row + 0.5) * tall
        draw.line((left + place * wide + 1, y, left + (place + 1) * wide - 1, y), FRONTIER, 2)
    radius = max(2.0, min(wide, tall, 10) * 0.36)
    for row, place in zip(*np.nonzero(view.sinks[: step + 1]), strict=True):
        x, y = left + (place + 0.5) * wide, top + (row + 0.5) * tall
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=SINK)
    path = [(left + (place + 0.5) * wide, top + (row + 0.5) * tall) for row, place in enumerate(view.path[: step + 1])]
    if len(path) > 1:
        draw.line(path, PATH, 2)
    at = (left, top + step * tall, right, top + (step + 1) * tall)
    draw.rectangle(at, outline=CASING, width=3)
    draw.rectangle(at, outline=CURSOR, width=1)


def _text(draw: Any, view: View, step: int, backgrounds: np.ndarray, font: FreeTypeFont) -> None:
    for place, (word, box) in _layout(view, step, font).items():
        red, green, blue = (int(part) for part in backgrounds[place])
        draw.rectangle(box, (red, green, blue))
        if view.masked[step, place]:
            for x in range(int(box[0]) + 3, int(box[2]), 6):
                draw.line((x, box[1] + 2, x, box[3] - 2), "#8A97A6")
        else:
            light = 0.2126 * red + 0.7152 * green + 0.0722 * blue > 120
            draw.text((box[0] + 2, (box[1] + box[3]) / 2), word, CASING if light else "#FFFFFF", font, "lm")
        if view.prompt[place]:
            draw.line((box[0], box[3], box[2], box[3]), QUIET)
        if view.accepted[step, place]:
            draw.rectangle(box, outline=CASING, width=3)
            draw.rectangle(box, outline=FRONTIER, width=2)
        if view.path[step] == place:
            draw.line((box[0], box[3] + 2, box[2], box[3] + 2), PATH, 3)


def _layout(view: View, step: int, font: FreeTypeFont) -> dict[int, tuple[str, tuple[float, float, float, float]]]:
    """Return the word and box (left, top, right, bottom) of each position in the text; what overflows is cut."""
    left, top, right, bottom = TEXT_BOX
    high = font.size * 1.35
    gap, between = (3.0, high * 1.25)
    x, y, boxes = float(left), float(top), {}
    for place in range(view.positions):
        hidden = view.masked[step, place]
        if hidden and view.objective == "autoregressive":
            continue
        word = "   " if hidden else printable(view.piece(step, place)).strip() or "␣"
        wide = max(font.getlength(word), font.size * 0.6) + 4
        if x + wide > right and x > left:
            x, y = float(left), y + between
        if y + high > bottom:
            break
        boxes[place] = (word, (x, y, min(x + wide, right), y + high))
        x += wide + gap
    return boxes


def _text_font(view: View) -> FreeTypeFont:
    """Return the largest font with which the whole text fits, or the smallest that can be read."""
    for size in range(22, 8, -1):
        font = _font(size)
        written = int((~view.masked[-1]).sum()) if view.objective == "autoregressive" else view.positions
        if len(_layout(view, view.steps - 1, font)) >= written:
            return font
    return _font(9)


def _font(size: int) -> FreeTypeFont:
    pillow = _pillow()
    for name in FONTS:
        try:
            return pillow.ImageFont.truetype(name, size)
        except OSError:
            continue
    return pillow.ImageFont.load_default(size)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _write_gif(images: Iterator[Image], part: Path, about: dict[str, Any], steps_per_second: float) -> None:
    first, *others = (image.quantize(256) for image in images)
    each = max(2, round(100 / steps_per_second)) * 10
    durations = [each] * len(others) + [HOLD_SECONDS * 1000]
    try:
        first.save(
            part, "GIF", save_all=True, append_images=others, duration=durations, loop=0, disposal=1,
            comment=json.dumps(about, default=str).encode(),
        )  # fmt: skip
    except OSError as error:
        raise OperationFailed(f"The animation could not be written to {part.parent}: {error}.") from error


def _write_mp4(images: Iterator[Image], part: Path, about: dict[str, Any], steps_per_second: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        metadata = Path(folder) / "metadata.txt"
        fields = {"title": about["title"], "comment": json.dumps(about, default=str)}
        lines = [f"{name}={_escaped(text)}" for name, text in fields.items()]
        metadata.write_text("\n".join([";FFMETADATA1", *lines, ""]), encoding="utf-8")
        size = "x".join(map(str, SIZE))
        command = [
            _ffmpeg(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size,
            "-r", f"{steps_per_second:g}", "-i", "-", "-f", "ffmetadata", "-i", str(metadata), "-map", "0:v",
            "-map_metadata", "1", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-f", "mp4", str(part),
        ]  # fmt: skip
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said)
            assert process.stdin is not None
            try:
                with process.stdin as pipe:
                    for image in images:
                        last = image.tobytes()
                        pipe.write(last)
                    for _ in range(round(HOLD_SECONDS * steps_per_second)):
                        pipe.write(last)
            except BrokenPipeError:
                pass  # its message says why
            except BaseException:
                process.kill()
                process.wait()
                raise
            if process.wait():
                said.seek(0)
                reason = " ".join(said.read().decode(errors="replace").split())[:200]
                raise OperationFailed(f"FFmpeg could not write the video: {reason or process.returncode}.")


def _escaped(text: str) -> str:
    """Return a value of FFmpeg's metadata format: its special characters and line ends are escaped."""
    return "".join(f"\\{letter}" if letter in "=;#\\\n" else letter for letter in text)


def _ffmpeg() -> str:
    try:
        import imageio_ffmpeg
    except ImportError:
        found = shutil.which("ffmpeg")
    else:
        return imageio_ffmpeg.get_ffmpeg_exe()
    if found is None:
        raise OperationFailed("MP4 needs FFmpeg (pip install 'sap-studio[figures]'); a .gif file does not.")
    return found


def _pillow() -> Any:
    try:
        import PIL
        import PIL.Image
        import PIL.ImageDraw
        import PIL.ImageFont
    except ImportError as error:
        raise OperationFailed("Animations need Pillow: pip install 'sap-studio[figures]'.") from error
    return PIL
