"""Labels and sentences that readers stumbled over do not come back, in the code, the pages or the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GONE = (
    "Made up for by", "made up for by", "Take along", "Take it along", "Bring it in", "Take this figure along",
    "The same from the command line and from Python", '"Keep"', "takes some seconds and no download",
    "follows from what is measured", "Time by the pace", "combination of this sweep can be", "measured at this very",
    "weights go (", "Heads that go", '"What goes"', '"Decided by"', '"Shared among layers"', '"At work"',
)  # fmt: skip


def texts() -> dict[Path, str]:
    folders = [ROOT / name for name in ("sap_core", "pages", "docs")]
    found = [path for folder in folders for kind in ("py", "md", "html", "js") for path in folder.rglob(f"*.{kind}")]
    return {path: path.read_text(encoding="utf-8") for path in [*found, ROOT / "README.md", ROOT / "CHANGELOG.md"]}


@pytest.fixture(scope="module")
def every_text():
    return texts()


@pytest.mark.parametrize("wording", GONE)
def test_a_replaced_wording_is_gone(every_text, wording):
    assert len(every_text) > 300
    assert [str(path.relative_to(ROOT)) for path, text in every_text.items() if wording in text] == []
