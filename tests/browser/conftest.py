"""One browser, one studio and one pair of captured demo runs for all browser tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from browser_tools import PATIENCE, browser, find_chromium, studio


@dataclass(frozen=True)
class Desk:
    """A running studio whose root holds two runs. Tests add others, and change none of these."""

    address: str
    runs: Path
    diffusion: str
    causal: str


@pytest.fixture(scope="session")
def window():
    """The one headless browser: a second one in the same process is refused by playwright."""
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium: none of chromium, chromium-browser, google-chrome in PATH, and $CHROME is not set")
    pytest.importorskip("playwright")
    with browser(chromium) as opened:
        yield opened


@pytest.fixture(scope="session")
def desk(window, tmp_path_factory, quick_interpreter):
    """The studio, with a diffusion run of two prompts and an autoregressive one of the same."""
    import sap_core as sap

    root = tmp_path_factory.mktemp("desk") / "runs"
    prompts = ["once there was a", "there was a"]
    made = {}
    for name, settings in (("diffusion", {"steps": 16}), ("ar", {})):
        run = sap.capture(
            f"demo:stories-{name}",
            prompts=prompts,
            length=40,
            name=f"Demo: {name}",
            out=root / f"demo-{name}",
            **settings,
        )
        made[name] = run.id
    with studio(root, python=quick_interpreter) as address:
        yield Desk(address, root, made["diffusion"], made["ar"])


@pytest.fixture
def tab(window, desk):
    """A new tab of its own visitor, 1280 wide; ``tab.console`` collects errors of the page's own scripts."""
    context = window.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.console = []
    page.on("pageerror", lambda error: page.console.append(str(error)))
    yield page
    context.close()
