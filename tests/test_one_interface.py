"""What a page, a metric or a pruner sees does not depend on the family: no branch on its name outside the two rooms
that know families, and the check is shown to fail."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
KNOW_FAMILIES = ("models", "samplers")


def branches(source: str) -> list[int]:
    """Lines that compare a model's family, look something up by it, or match it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.Subscript):
            asked = [node.slice]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            asked = node.args
        elif isinstance(node, ast.Match):
            asked = [node.subject]
        else:
            continue
        if any(isinstance(part, ast.Attribute) and part.attr == "family" for part in asked):
            found.append(node.lineno)
    return found


def outside(root: Path) -> list[Path]:
    code = sorted([*(root / "sap_core").rglob("*.py"), *(root / "pages").glob("*.py"), root / "app.py"])
    return [path for path in code if not {*path.relative_to(root).parts} & {*KNOW_FAMILIES}]


def test_nothing_outside_models_and_samplers_asks_for_the_family() -> None:
    files = outside(ROOT)
    assert len(files) > 80
    assert {str(path.relative_to(ROOT)): found for path in files if (found := branches(path.read_text()))} == {}


@pytest.mark.parametrize(
    "line",
    [
        'if info.family == "llada": pass',
        'x = 1 if model.info.family in ("dream", "llada") else 2',
        "y = TABLE[info.family]",
        "z = TABLE.get(info.family, 3)",
        "match info.family:\n    case _: pass",
    ],
)
def test_the_check_can_fail(line: str) -> None:
    assert branches(line) == [1]


def test_showing_a_family_is_no_branch() -> None:
    assert branches('print(info.family)\ncolumns = {"family": info.family}') == []
