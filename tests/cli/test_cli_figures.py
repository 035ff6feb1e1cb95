"""``sap figure`` and ``sap report``: files with their origin inside, and refusals before anything is written."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from sap_core.csv_files import read_csv

pytest_plugins = ["cli_fixtures"]


@pytest.fixture
def runs(sap, synthetic, tmp_path):
    for name, kind in (("mixed", "mixed"), ("still", "fixed")):
        synthetic(tmp_path / "runs" / name, kind)
    return ["mixed", "still"]


@pytest.mark.parametrize("kind", ["heatmap", "kinds", "layers", "heads"])
def test_every_kind_of_figure_as_data_with_its_origin(sap, runs, tmp_path, kind):
    answer = sap("figure", "mixed", "--kind", kind, "--out", "deep/a.parquet", "--json")
    assert answer.status == 0, answer.err
    table = pd.read_parquet(tmp_path / "deep" / "a.parquet")
    assert len(table) and table.attrs["runs"][0]["id"] == "mixed" and answer.json["file"] == "deep/a.parquet"
    assert table.attrs["made with"] == answer.json["made with"]


def test_a_figure_as_html_says_what_is_shown(sap, runs, tmp_path):
    assert sap("figure", "mixed", "--out", "a.html", "--layer", 1, "--head", 2, "--step", 3).status == 0
    page = (tmp_path / "a.html").read_text()
    about = json.loads(page.split('id="provenance">')[1].split("</script>")[0])
    assert about["view"] == {"layer": 1, "head": 2, "step": 3, "rule": "column_sum"}
    assert about["runs"][0]["settings"]["kind"] == "capture" and "layer 1, head 2" in about["title"]


def test_the_difference_of_two_runs(sap, runs, tmp_path):
    assert sap("figure", *runs, "--kind", "difference", "--out", "d.csv").status == 0
    assert [run["id"] for run in read_csv(tmp_path / "d.csv").attrs["runs"]] == runs


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mixed", "--out", "a.pdf"], "html, png, svg, csv, parquet"),
        (["mixed", "--kind", "pie", "--out", "a.csv"], "Unknown kind of figure"),
        (["mixed", "--kind", "difference", "--out", "a.csv"], "takes 2"),
        (["mixed", "still", "--out", "a.csv"], "takes 1"),
        (["mixed", "--layer", "7", "--out", "a.csv"], "layers 0 to 1"),
    ],
)
def test_refusals_write_nothing(sap, runs, tmp_path, words, said):
    answer = sap("figure", *words)
    assert answer.status == 2 and said in answer.err and len(answer.err.strip().splitlines()) == 1
    assert not list(tmp_path.glob("a.*"))


def test_reports_of_a_run_and_of_a_comparison(sap, runs, tmp_path):
    assert sap("report", "mixed", "--out", "one.html", "--layer", 1).status == 0
    assert "layer 1, mean over heads" in (tmp_path / "one.html").read_text()
    assert sap("report", *runs, "--out", "two.html").status == 0
    assert "needs an autoregressive run" in (tmp_path / "two.html").read_text()  # neither of the two is one
    refused = sap("report", *runs, "--out", "three.html", "--layer", 1)
    assert refused.status == 2 and "a part of one run" in refused.err and not (tmp_path / "three.html").exists()


@pytest.mark.parametrize("command", ["figure", "report"])
def test_a_file_that_appears_during_the_work_stays(sap, runs, tmp_path, command, monkeypatch):
    from sap_core.storage.output import Output

    real = Output.publish

    def late(self, source=None):
        (tmp_path / "out.html").write_text("precious")
        return real(self, source)

    monkeypatch.setattr(Output, "publish", late)
    answer = sap(command, "mixed", "--out", "out.html")
    assert answer.status == 1 and "stays as it is; the result is in" in answer.err
    assert (tmp_path / "out.html").read_text() == "precious" and (tmp_path / "out-2.html").stat().st_size > 1000


@pytest.mark.parametrize("out", ["missing_ending", "folder", "a.pdf"])
def test_an_impossible_file_is_refused_before_the_run_is_read(sap, runs, tmp_path, out):
    (tmp_path / "folder").mkdir()
    assert sap("figure", "no-such-run", "--out", out).status == 2
    answer = sap("figure", "mixed", "--out", out)
    assert answer.status == 2 and answer.err.startswith("sap: ") and answer.err.count("\n") == 1
