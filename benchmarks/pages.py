"""How long a page takes against an empty Streamlit page on the same machine: ``python benchmarks/pages.py``.

First paint: from opening the address in a new tab until the page's title is there. Rerun: from a key press on a slider
until the script that it starts has ended. Both have a bound, in multiples of the empty page's. Drawn: until everything
is there, figures included, for which the browser first loads plotly.

Pages are measured on synthetic runs of the demo's size, in turn with the empty page, and compared by their medians.
Prints a table and exits 1 when a page is over a bound.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "browser")]

from browser_tools import PATIENCE, browser, find_chromium, settled, studio  # noqa: E402
from sample_runs import capture_run, prune_run  # noqa: E402
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg  # noqa: E402

PAGES = ("start", "capture", "sinks", "heads", "compare", "prune", "tradeoff", "export", "runs")
# page -> name of the slider, and what is to be opened first
SLIDERS = {"heads": ("Switch rate", "Weights of the instability score"), "prune": ("Sparsity", "")}
PAINT, RERUN = 1.5, 2.0  # times the empty page's
EMPTY = "import streamlit as st\nst.title('Empty')\nst.slider('Nothing', 0.0, 1.0, 1.0, 0.05)\n"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--repeats", type=int, default=5, help="measurements of each, in turn")
    repeats = arguments.parse_args().repeats
    chromium = find_chromium()
    if chromium is None:
        sys.exit("No Chromium found; install one, or name it in $CHROME.")
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        sizes = {"layers": 6, "heads": 6, "positions": 128}
        capture_run(runs, "mixed", steps=64, **sizes)
        capture_run(runs, "fixed", objective="autoregressive", model="demo:stories-ar", steps=124, **sizes)
        prune_run(runs)
        empty = Path(folder) / "app.py"
        empty.write_text(EMPTY)
        with (
            studio(runs) as full,
            studio(Path(folder) / "none" / "runs", app=empty) as bare,
            browser(chromium) as window,
        ):
            over = measure(window, full, bare, repeats)
    sys.exit(1 if over else 0)


def measure(window, full: str, bare: str, repeats: int) -> list[str]:
    """Print the table; what is over its bound."""
    sliders = {"empty": (bare, "Nothing", ""), **{page: (f"{full}/{page}", *where) for page, where in SLIDERS.items()}}
    addresses = {"empty": bare, **{page: f"{full}/{'' if page == 'start' else page}" for page in PAGES}}
    paints, reruns = ({page: [] for page in of} for of in (addresses, sliders))
    for address in addresses.values():  # the first visit fills the caches
        paint(window, address)
    for _ in range(repeats):
        for page, address in addresses.items():
            paints[page].append(paint(window, address))
        for page, where in sliders.items():
            reruns[page].append(rerun(window, *where))
    over = []
    print("| page | first | ratio | drawn | ratio |\n|---|---|---|---|---|")
    for title, times, bound in (("first paint", paints, PAINT), ("slider", reruns, RERUN)):
        medians = {
            page: [statistics.median(each) for each in zip(*pairs, strict=True)] for page, pairs in times.items()
        }
        for page, (first, drawn) in medians.items():
            ratio, whole = first / medians["empty"][0], drawn / medians["empty"][1]
            over += [f"{title} of {page}"] if ratio > bound else []
            print(f"| {title}, {page} | {first:.2f} s | {ratio:.2f} | {drawn:.2f} s | {whole:.2f} |")
    print(f"\nBounds of the first ratio: first paint {PAINT:g}, slider {RERUN:g}. Over: {', '.join(over) or 'none'}.")
    return over


def paint(window, address: str) -> tuple[float, float]:
    """Seconds until a new tab shows the page's title, and until everything is drawn."""
    page = window.new_page()
    page.set_default_timeout(PATIENCE)
    start = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.locator("h1").wait_for()
    first = time.perf_counter() - start
    settled(page)
    seconds = time.perf_counter() - start
    page.close()
    return first, seconds


def rerun(window, address: str, slider: str, inside: str = "") -> tuple[float, float]:
    """Seconds from a key on the slider to the end of the script, and until its result is drawn.

    The page itself may show nothing of a short rerun, not even that it runs, so its end is read from the socket.
    """
    page = window.new_page()
    page.set_default_timeout(PATIENCE)
    with page.expect_websocket() as socket:
        page.goto(address)
    page.locator("h1").wait_for()
    settled(page)
    if inside:
        page.get_by_text(inside).click()
    thumb = page.get_by_role("slider", name=slider)
    thumb.focus()
    page.wait_for_timeout(500)  # what the click and the focus drew
    start = time.perf_counter()
    with socket.value.expect_event("framereceived", ends_script, timeout=PATIENCE):
        thumb.press("ArrowLeft")
    first = time.perf_counter() - start
    settled(page)
    page.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    seconds = time.perf_counter() - start
    page.close()
    return first, seconds


def ends_script(frame: str | bytes) -> bool:
    """Whether a frame from Streamlit says that the script has ended."""
    return isinstance(frame, bytes) and ForwardMsg.FromString(frame).WhichOneof("type") == "script_finished"


if __name__ == "__main__":
    main()
