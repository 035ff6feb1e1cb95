"""Pages paint at once because none of them imports torch; tests/test_layers.py holds it for the modules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.name for path in (ROOT / "pages").glob("*.py"))


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_every_page_runs_without_torch(tmp_path):
    """All pages in one process, on real run folders: what they import and call on the way is counted too."""
    code = f"""
import os, sys
sys.path[:0] = ["tests", "."]
os.environ["SAP_RUNS"] = {str(tmp_path)!r}
from pathlib import Path
from sample_runs import capture_run, prune_run
capture_run(Path({str(tmp_path)!r})); capture_run(Path({str(tmp_path)!r}), "fixed"); prune_run(Path({str(tmp_path)!r}))
from streamlit.testing.v1 import AppTest
for page in {PAGES!r}:
    at = AppTest.from_file(f"pages/{{page}}", default_timeout=60).run()
    assert not at.exception, (page, at.exception)
print("torch" in sys.modules)
"""
    assert run(code).strip().endswith("False")


def test_the_check_can_fail():
    with pytest.raises(AssertionError):
        assert run("import sys; sys.modules['torch'] = sys; print('torch' in sys.modules)").strip().endswith("False")
