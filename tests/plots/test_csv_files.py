"""CSV: no row is lost, no cell is a formula, every text comes back."""

from __future__ import annotations

import csv
import io
import json

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sap_core.csv_files import PROVENANCE, csv_bytes, csv_text, read_csv
from sap_core.errors import InvalidInput
from sap_core.plots.figure_files import read_table, save_figure, view_table
from sap_core.plots.heatmap import trajectory_heatmap
from sap_core.plots.view import make_view
from sap_core.trajectory.synthetic import synthetic_trajectory

EVIL = [
    "=1+1", "+1", "-2", "@SUM(1)", "##ing", "#", "a,b", 'q"uote', "new\nline", "\t=1", "\r=1", "\n=1", "  =1",
    "\u3000=1", '=HYPERLINK("http://x")', "'", "'=1", "NA", "null", "nan", "", "1", "1.0", "True", " ", "a\rb",
    "a\r\nb", "x\0y", "＝1", "é", "\u2028",
]  # fmt: skip
ABOUT = {"title": "# = a title", "runs": [], "view": {"layer": 1}, "made with": "x"}
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(st.lists(text, min_size=1, max_size=20))
@example(EVIL)
@settings(deadline=None)
def test_every_text_comes_back(tokens: list[str]) -> None:
    table = pd.DataFrame({"text": tokens, "value": [-float(number) for number in range(len(tokens))]})
    found = read_csv(csv_bytes(table, ABOUT))
    assert found["text"].tolist() == tokens and found["value"].tolist() == table["value"].tolist()
    assert list(found.columns) == ["text", "value"] and found.attrs == ABOUT


@given(st.lists(text, min_size=1, max_size=20))
@example(EVIL)
@settings(deadline=None)
def test_no_cell_is_a_formula_and_any_reader_has_every_row(tokens: list[str]) -> None:
    table = pd.DataFrame({"=text": tokens, "value": -1.5})
    rows = list(csv.reader(io.StringIO(csv_text(table, ABOUT), newline="")))
    assert len(rows) == len(tokens) + 1 and {len(row) for row in rows} == {3}
    for row in rows[1:]:
        assert not row[0].strip().startswith(("=", "+", "-", "@")) and row[0][:1] not in ("\t", "\r")
        assert row[1] == "-1.5"
    assert rows[0] == ["'=text", "value", PROVENANCE] and json.loads(rows[1][2])["title"] == ABOUT["title"]
    assert len(pd.read_csv(io.StringIO(csv_text(table, ABOUT), newline=""))) == len(tokens)


def test_without_provenance_and_without_rows() -> None:
    table = pd.DataFrame({"state": ["=1", None, "x"], "n": [1, 2, 3], "loss": [0.5, None, -1.0]})
    found = read_csv(csv_bytes(table))
    assert found["state"].tolist()[::2] == ["=1", "x"] and pd.isna(found["state"][1]) and not found.attrs
    assert found["n"].tolist() == [1, 2, 3] and found["loss"].tolist()[::2] == [0.5, -1.0]
    assert list(read_csv(csv_bytes(table[:0], ABOUT)).columns) == ["state", "n", "loss"]


def test_a_run_with_such_tokens_is_taken_home_and_read_back(tmp_path) -> None:
    """What ``sap figure`` and the pages' downloads write."""
    trajectory = synthetic_trajectory("mixed", 6, 2, 4, 12)
    pieces = {key: EVIL[number % len(EVIL)] for number, key in enumerate(json.loads(trajectory.attrs["pieces"]))}
    trajectory.attrs["pieces"] = json.dumps(pieces)
    view = make_view(trajectory)
    for name in ("a.csv", "a.parquet"):
        found = read_table(save_figure(trajectory_heatmap(view), tmp_path / name, ABOUT, view))
        assert len(found) == 6 * 12 and found.attrs == ABOUT
        expected = [view.piece(step, place) for step in range(6) for place in range(12)]
        assert found["text"].tolist() == expected and set(expected) & set(EVIL)
    with pytest.raises(InvalidInput, match=r"expected \.csv or \.parquet"):
        read_table(tmp_path / "a.xlsx")


def test_half_a_character_in_a_tokenizer_does_not_keep_a_run_from_being_shown() -> None:
    trajectory = synthetic_trajectory("mixed", 6, 2, 4, 12)
    pieces = dict.fromkeys(json.loads(trajectory.attrs["pieces"]), "\ud800")
    trajectory.attrs["pieces"] = json.dumps(pieces)
    view = make_view(trajectory)
    assert set(read_csv(csv_bytes(view_table(view), ABOUT))["text"]) <= {"[mask]", "?"}
