"""A studio on a free port and a headless Chromium to look at it with, for the browser tests and the screenshots."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
PATIENCE = 180_000  # milliseconds; for a loaded machine with one slow core


def find_chromium() -> str | None:
    """A Chromium or Chrome: $CHROME, else the usual names in PATH."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROME") or next((path for name in names if (path := shutil.which(name))), None)


@contextlib.contextmanager
def studio(runs: Path, app: Path = ROOT / "app.py", python: str = sys.executable) -> Iterator[str]:
    """The address of a studio (or another ``app``) whose runs lie in ``runs``; it and its worker end with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python, "-m", "streamlit", "run", str(app), "--server.port", str(port)]
    runs.parent.mkdir(parents=True, exist_ok=True)
    log = runs.parent / "studio.log"
    with open(log, "wb") as out:
        server = subprocess.Popen(
            [*command, "--server.headless", "true"],
            cwd=runs.parent,
            env=os.environ | {"SAP_RUNS": str(runs), "HF_HUB_OFFLINE": "1"},
            stdout=out,
            stderr=out,
        )
    try:
        _wait_until_healthy(port, server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)
        from sap_core.jobs.client import JobClient

        JobClient(runs).stop()


@contextlib.contextmanager
def browser(chromium: str) -> Iterator:
    """A headless browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        window = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        try:
            yield window
        finally:
            window.close()


def settled(page) -> None:
    """Wait until the page's script has run to its end and nothing is drawn as stale."""
    page.wait_for_selector("[data-testid='stApp'][data-test-script-state='notRunning']", timeout=PATIENCE)
    page.wait_for_function("!document.querySelector('[data-testid=\"stSkeleton\"]')", timeout=PATIENCE)


def visit(page, address: str) -> None:
    """Open an address of the studio and wait until the page has run."""
    page.goto(address)
    page.get_by_test_id("stHeading").first.wait_for()
    settled(page)


def _wait_until_healthy(port: int, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < end:
        if server.poll() is not None:
            raise RuntimeError(f"The studio ended: {log.read_text()[-2000:]}")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2):
            return
        time.sleep(0.2)
    raise TimeoutError(f"The studio did not start: {log.read_text()[-2000:]}")
