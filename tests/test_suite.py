"""What the marks leave in `make test-fast`: tests of every package."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEFT_OUT = re.compile(r"mark\.(slow|browser|extras)\b")


def fast_tests(source: str) -> list[str]:
    """Names of a test file's functions that no mark of its own or of the file leaves out."""
    tree = ast.parse(source)
    whole = [
        node for node in tree.body if isinstance(node, ast.Assign) and "pytestmark" in ast.unparse(node.targets[0])
    ]
    if any(LEFT_OUT.search(ast.unparse(node.value)) for node in whole):
        return []
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test")]
    return [one.name for one in functions if not any(LEFT_OUT.search(ast.unparse(d)) for d in one.decorator_list)]


def packages_tested(sources: list[str]) -> set[str]:
    """Names of the packages of ``sap_core`` that files with fast tests import from."""
    tested = [source for source in sources if fast_tests(source)]
    return {name for source in tested for name in re.findall(r"(?:from|import) sap_core\.(\w+)", source)}


def test_every_package_has_fast_tests():
    packages = {path.parent.name for path in (ROOT / "sap_core").glob("*/__init__.py")}
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(packages) >= 20 and packages - packages_tested(sources) == set()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from sap_core.sinks import x\ndef test_a(): ...", {"sinks"}),
        ("import pytest\nfrom sap_core.sinks import x\n@pytest.mark.slow\ndef test_a(): ...", set()),
        ("import pytest\nfrom sap_core.sinks import x\npytestmark = pytest.mark.browser\ndef test_a(): ...", set()),
        ("from sap_core.sinks import x\ndef helper(): ...", set()),
    ],
)
def test_the_check_can_fail(source, found):
    assert packages_tested([source]) == found
