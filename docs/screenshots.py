"""Make the screenshots in assets/screenshots from real demo runs: ``python docs/screenshots.py [--keep RUNS]``.

Runs the demo, prunes at 50 %, exports, and takes every page light and dark at 1280 wide (and the README's at 1920).
With ``--keep`` the runs are put into (or taken from) the given folder, so that a second pass only takes pictures.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "browser")]

from browser_tools import PATIENCE, browser, find_chromium, settled, studio  # noqa: E402

from sap_core.runs.listing import list_runs  # noqa: E402

OUT = ROOT / "assets" / "screenshots"
PAGES = ("start", "capture", "sinks", "heads", "compare", "prune", "tradeoff", "export", "runs")
MODEL = "demo:stories-diffusion"
STEP = 24
TALLEST = 2400


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--keep", type=Path, help="folder for the runs")
    keep = arguments.parse_args().keep
    chromium = find_chromium()
    if chromium is None:
        sys.exit("No Chromium found; install one, or name it in $CHROME.")
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        runs = (keep or Path(scratch) / "runs").absolute()
        runs.parent.mkdir(parents=True, exist_ok=True)
        with studio(runs) as address, browser(chromium) as window:
            if not any(runs.glob("*-export-*")):
                prepare(window, address, runs.parent / "pruned")
            captured = [run for run in list_runs(runs, kind="capture") if run.model == MODEL]
            queries = {page: f"?run={captured[0].id}" for page in ("sinks", "heads")} | {
                page: f"?model={MODEL}" for page in ("prune", "tradeoff")
            }
            queries["sinks"] += f"&step={STEP}"
            for scheme in ("light", "dark"):
                for page in PAGES:
                    take(window, address, page, queries.get(page, ""), scheme, 1280)
                take(window, address, "sinks", queries["sinks"], scheme, 1920)


def prepare(window, address: str, out: Path) -> None:
    """The runs that the pictures show."""
    tab = window.new_page()
    tab.set_default_timeout(PATIENCE)
    tab.goto(address)
    tab.get_by_role("button", name="Run the demo").click()
    tab.locator('a[href*="compare?a=20"][href*="b=20"]').first.wait_for()  # runs of today, no longer the recorded ones
    tab.goto(f"{address}/prune?model={MODEL}")
    tab.get_by_role("button", name="Apply").click()
    tab.get_by_text("words that differ are marked").first.wait_for()
    tab.goto(f"{address}/export")
    field = tab.get_by_role("textbox", name="Folder to write")
    field.fill(str(out))
    field.press("Enter")
    settled(tab)
    tab.get_by_role("button", name="Write checkpoint").click()
    tab.get_by_text("its outputs equal the pruned model's").wait_for()
    tab.close()


def take(window, address: str, page: str, query: str, scheme: str, width: int) -> None:
    """One page, as tall as it is."""
    tab = window.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab.set_default_timeout(PATIENCE)
    tab.goto(f"{address}/{'' if page == 'start' else page}{query}")
    tab.locator("h1").wait_for()
    settled(tab)
    height = tab.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    tab.set_viewport_size({"width": width, "height": min(height, TALLEST)})
    tab.wait_for_timeout(1500)  # plotly fits its figures to the new size
    settled(tab)
    name = f"{page}-{scheme}{'' if width == 1280 else f'-{width}'}.png"
    tab.screenshot(path=OUT / name)
    print(name)
    tab.close()


if __name__ == "__main__":
    main()
