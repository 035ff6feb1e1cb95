"""axe-core finds nothing serious on any page, in light and in dark."""

from __future__ import annotations

import pytest
from browser_tools import PATIENCE, settled, visit

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
pytestmark = pytest.mark.browser
PAGES = {
    "light": ("", "capture", "sinks?tab=How+it+moves", "heads", "compare", "prune", "tradeoff", "export", "runs"),
    "dark": ("", "sinks?tab=Which+tokens", "heads", "prune"),
}
OPTIONS = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"],
    "resultTypes": ["violations"],
    # Streamlit's own navigation puts an element per section between its list and the entries; no page can change that.
    "rules": {"list": {"enabled": False}, "listitem": {"enabled": False}},
}


def serious(page) -> list[str]:
    """One line per finding of impact serious or critical."""
    found = axe.Axe().run(page, options=OPTIONS).response
    return [
        f"{rule['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


@pytest.fixture(scope="module", params=["light", "dark"])
def themed(request, window, desk):
    page = window.new_context(viewport={"width": 1280, "height": 1600}, color_scheme=request.param).new_page()
    page.set_default_timeout(PATIENCE)
    yield request.param, page
    page.context.close()


def test_no_page_has_a_serious_finding(themed, desk):
    scheme, page = themed
    found = {}
    for name in PAGES[scheme]:
        visit(page, f"{desk.address}/{name}")
        settled(page)
        if lines := serious(page):
            found[name] = lines
    assert found == {}, found


def test_the_check_can_fail(themed):
    _, page = themed
    page.set_content(
        "<html lang=en><title>x</title><main><h1>x</h1><p style='color:#999;background:#fff'>faint</p></main>"
    )
    assert any("color-contrast" in line for line in serious(page))
