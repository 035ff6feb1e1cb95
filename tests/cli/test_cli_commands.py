"""The commands do their work, print one JSON document with --json, and tables without."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

from sap_core import cli
from sap_core.choices.sink_rules import SINK_RULES
from sap_core.cli import console
from sap_core.cli.signals import STOP
from sap_core.cli.studio import HOST, demo_home, studio_command
from sap_core.errors import Cancelled, OperationFailed
from sap_core.progress import Progress
from sap_core.runs.listing import list_runs
from sap_core.runs.reading import open_run
from sap_core.specs import (
    CaptureSpec,
    ElasticSpec,
    EvaluateSpec,
    ExportSpec,
    ProgressivePruneSpec,
    PruneSpec,
    PushSpec,
    SearchPruneSpec,
    SweepSpec,
)
from sap_core.specs.options import fields_of, shown_default

pytest_plugins = ["cli_fixtures"]

ROOT = Path(__file__).parents[2]
COLD_PYTHON = sys.executable  # `warm_python` puts one in its place that has torch imported
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def runs(synthetic, tmp_path):
    return synthetic(tmp_path / "runs" / "mixed"), synthetic(tmp_path / "runs" / "fixed", "fixed", "autoregressive")


def test_capture_writes_a_run_with_its_text(sap, tiny_diffusion, tmp_path):
    words = ["capture", "--model", tiny_diffusion, "--prompt", "w1 w2", "--length", "12", "--steps", "5"]
    answer = sap(*words, "--out", "one", "--json")
    assert answer.status == 0, answer
    run = open_run(tmp_path / "one")
    assert answer.json["run"] == str(run.path) and answer.json["text"] == run.text
    assert run.trajectory["received"].dims == ("step", "layer", "head", "position")
    assert answer.json["sizes"] == {"step": 5, "layer": 3, "head": 4, "position": 12}
    assert run.spec == CaptureSpec.build(model=str(tiny_diffusion), prompts=("w1 w2",), length=12, steps=5).model_dump(
        mode="json"
    )

    again = sap(*words)
    assert again.status == 0 and run.text in again.out and "5 steps, 3 layers, 4 heads, 12 positions" in again.out
    (made,) = list_runs(tmp_path / "runs")
    assert str(made.path) in again.out


def test_autoregressive_capture_of_two_prompts(sap, tiny_causal, tmp_path):
    words = ["--prompt", "w1", "--prompt", "w1 w2 w3", "--length", "10", "--out", "ar", "--name", "two"]
    assert sap("capture", "--model", tiny_causal, *words).status == 0
    run = open_run(tmp_path / "ar")
    assert run.name == "two" and len(run.trajectories) == 2


def test_prompts_from_a_file_or_a_ready_set(sap, tiny_diffusion, tmp_path):
    (tmp_path / "texts.txt").write_text("w1 w2\n\nw3\n")
    words = ["capture", "--model", tiny_diffusion, "--length", "8", "--steps", "2"]
    assert sap(*words, "--prompts", "texts.txt", "--out", "file").status == 0
    assert open_run(tmp_path / "file").spec["prompts"] == ["w1 w2", "w3"]
    refused = sap(*words, "--prompts", "texts.txt", "--preset", "stories")
    assert refused.status != 0 and "three ways" in refused.err
    assert "Unknown preset of prompts 'poems'" in sap(*words, "--preset", "poems").err


def test_the_chat_template_is_shown_before_it_is_sent(sap, tiny_diffusion, tmp_path):
    folder = shutil.copytree(tiny_diffusion, tmp_path / "chat")
    (folder / "chat_template.jinja").write_text("w9 {{ messages[0]['content'] }} w8")
    answer = sap("capture", "--model", folder, "--chat", "-p", "w1", "--length", "8", "--steps", "2", "--out", "talk")
    assert answer.status == 0 and answer.err.startswith("w9 w1 w8\n")
    assert answer.out.startswith("w9 w1 w8")


def test_sinks(sap, runs):
    document = sap("sinks", runs[1], "--json").json
    assert document["path"] == [0] * 8 and document["rule"]["name"] == "column_sum"
    assert sap("sinks", runs[1], "--json", "--rule", "rate").json["rule"]["name"] == "rate"
    shown = sap("sinks", "mixed").out  # by its id
    assert "Switch rate" in shown and "Dominant position per step: 0" in shown


def test_heads(sap, runs):
    rows = sap("heads", runs[0], "--json").json
    assert len(rows) == 8 and [row["rank"] for row in rows] == list(range(1, 9))
    assert {"layer", "head", "instability", "rank"} <= set(rows[0])
    assert [row["head"] for row in rows[:2]] != [0, 0] and rows[0]["instability"] > rows[-1]["instability"]
    assert len(sap("heads", runs[0], "--top", 3, "--json").json) == 3
    assert len(sap("heads", runs[0], "--top", 3).out.splitlines()) == 3 + 2


def test_heads_by_given_weights(sap, runs):
    from sap_core import open_run, rank_heads

    weights = {"switch_rate": 2.0, "overlap": 1.0}
    rows = sap("heads", runs[0], "--weights", "switch_rate=2, overlap=1", "--json").json
    expected = rank_heads(open_run(runs[0]), weights=weights)
    assert [row["instability"] for row in rows] == pytest.approx(expected["instability"].tolist())
    assert [row["instability"] for row in rows] != [row["instability"] for row in sap("heads", runs[0], "--json").json]
    for text, reason in (
        ("switch_rate", "expected NAME=NUMBER"),
        ("switch_rate=x", "expected NAME=NUMBER"),
        ("switch_rat=1", "Did you mean 'switch_rate'"),
        ("overlap=1,overlap=2", "twice"),
        ("overlap=-1", "at least 0"),
        ("overlap=0", "All weights"),
    ):
        refused = sap("heads", runs[0], "--weights", text)
        assert refused.status == 2 and reason in refused.err


def test_compare(sap, runs):
    document = sap("compare", *runs, "--json").json
    assert document["names"] == ["mixed", "fixed"] and len(document["time"]) == 50
    switch = next(row for row in document["metrics"] if row["metric"] == "switch_rate")
    assert switch["a"] > 0 == switch["b"] and switch["difference"] == pytest.approx(-switch["a"])
    shown = sap("compare", *runs).out
    assert "a: mixed" in shown and "b - a" in shown


def test_dry_run_prints_the_plan_and_writes_nothing(sap, tiny_diffusion, tmp_path):
    answer = sap("prune", "--model", tiny_diffusion, "--sparsity", 0.25, "--dry-run", "--json")
    assert answer.status == 0
    totals = answer.json["plan"]["totals"]
    assert totals["zeros"] == pytest.approx(totals["weights"] / 4, rel=0.02)
    assert "nothing was written" in sap("prune", "--model", tiny_diffusion, "--dry-run").out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("warm_python")
@pytest.mark.slow
def test_prune_evaluate_and_verify(sap, tiny_diffusion, tmp_path):
    np.save(tmp_path / "ids.npy", np.random.default_rng(0).integers(3, 96, (4, 16)))
    words = ["prune", "--model", tiny_diffusion, "--method", "wanda", "--pattern", "2:4", "--calibration", "ids.npy"]
    answer = sap(*words, "--out", "out", "--no-verify", "--json")
    assert answer.status == 0, answer
    assert answer.json["out"] == str(tmp_path / "out") and answer.json["report"]["sparsity"] == pytest.approx(0.5)
    assert answer.json["quality"]["pruned"]["likelihood"]["nats_per_token"] > 0
    assert (tmp_path / "out" / "config.json").is_file() and (tmp_path / "out" / "README.md").is_file()
    refused = sap(*words, "--out", "out")
    assert refused.status == 2 and "exists already" in refused.err

    answer = sap("evaluate", "--model", "out", "--baseline", tiny_diffusion, "--samples", 2, "--draws", 2, "--json")
    assert answer.status == 0, answer
    ratios = answer.json["ratios"]
    assert 0.4 < ratios["nonzero_parameters"] < 0.9 and ratios["bytes"] == 1
    table = sap("evaluate", "--model", "out", "--samples", 2, "--draws", 2).out
    assert "nats/token (bound)" in table and "non-zero parameters" in table
    assert sap("verify", "out", "--json").json["equal"] is True


@pytest.mark.slow
def test_export_of_a_prune_run(sap, tiny_diffusion, tmp_path):
    from sap_core.jobs.cache import ModelCache
    from sap_core.jobs.execute import execute
    from sap_core.progress import silent

    spec = PruneSpec.build(model=str(tiny_diffusion), method="magnitude", sparsity=0.3)
    run = execute(spec, tmp_path / "runs" / "p1", ModelCache(), silent)
    answer = sap("export", "p1", "--out", "out", "--no-verify", "--json")
    assert answer.status == 0, answer
    manifest = json.loads((tmp_path / "out" / "sap_manifest.json").read_text())
    assert manifest["report"]["weights_sha256"] == open_run(run).result["report"]["weights_sha256"]
    assert sap("export", "p1", "--out", "out").status == 2
    assert "from_pretrained" in sap("export", "p1", "--out", "out", "--overwrite", "--no-verify").out


def test_history(sap, runs, tmp_path):
    listed = sap("runs", "list", "--json").json
    assert {run["id"] for run in listed} == {"fixed", "mixed"} and listed[0]["state"] == "finished"
    assert "mixed" in sap("runs", "list").out and sap("runs", "list", "--kind", "prune", "--json").json == []

    assert sap("runs", "edit", "mixed", "--name", "first", "--tags", "a, b", "--json").json["tags"] == ["a", "b"]
    document = sap("runs", "show", "mixed", "--json").json
    assert (document["name"], document["spec"]["model"]) == ("first", "m")
    assert document["result"]["text"] == "once upon a time" and document["manifest"]["versions"]["python"]
    assert "once upon a time" in sap("runs", "show", "mixed").out

    assert sap("runs", "export", "mixed", "m.zip").status == 0
    assert sap("runs", "export", "mixed", "m.zip").status == 2
    assert sap("runs", "delete", "mixed", "none").status == 2 and (tmp_path / "runs" / "mixed").is_dir()
    assert sap("runs", "delete", "mixed", "fixed", "--json").json == {
        "deleted": [str(tmp_path / "runs" / name) for name in ("mixed", "fixed")]
    }
    assert "No runs in" in sap("runs", "list").out
    assert sap("runs", "import", "m.zip", "--json").json == {"run": str(tmp_path / "runs" / "mixed")}


def test_models_and_stories(sap, tiny_diffusion):
    families = sap("models", "--json").json
    assert {"llada", "causal"} <= {row["family"] for row in families}
    assert "low_confidence" in sap("models").out
    described = sap("models", tiny_diffusion, "--json").json
    assert described["layers"] == 3 and described["objective"] == "masked_diffusion"
    assert "masked_diffusion" in sap("models", tiny_diffusion).out
    memory = described["memory"]
    assert memory["fits"] and memory["weights"] == described["bytes"] and memory["length"] == 64
    half = sap("models", tiny_diffusion, "--dtype", "bfloat16", "--length", 64, "--steps", 8, "--json").json["memory"]
    assert 2 * half["weights"] == memory["weights"] and 8 * half["trajectory"] < memory["trajectory"] * 1.1
    assert "free" in sap("models", tiny_diffusion).out
    stories = sap("demo", "stories", "-n", 2, "--seed", 5, "--json").json
    assert len(stories) == 2 and stories == sap("demo", "stories", "-n", 2, "--seed", 5, "--json").json
    assert sap("demo", "stories", "-n", 2, "--seed", 5).out.strip().split("\n\n") == [s["text"] for s in stories]


def test_studio_serves_this_machine_only(monkeypatch):
    started = []
    monkeypatch.setattr(os, "execv", lambda path, command: started.append(command))
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
        free.listen()
        assert cli.main(["studio", "--port", str(port)]) == 2 and not started  # taken
    assert cli.main(["studio", "--port", str(port)]) == 0
    (command,) = started
    assert command == studio_command(port) and command[1:4] == ["-m", "streamlit", "run"]
    assert command[4] == str(ROOT / "app.py") and "--server.address=127.0.0.1" in command
    assert f"--server.port={port}" in command and "--browser.gatherUsageStats=false" in command
    assert demo_home() == ROOT / "assets" / "demo"


@pytest.mark.usefixtures("warm_python")
@pytest.mark.slow
def test_real_processes_keep_standard_output_pure(tiny_diffusion, tmp_path):
    words = ["capture", "--model", str(tiny_diffusion), "--length", "8", "--steps", "2", "--out", "run", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "sap_core.cli", *words], capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"] == str(tmp_path / "run")


def test_help_is_quick_to_import():
    code = "import sap_core.cli, sys; print(*({'torch', 'numpy', 'streamlit', 'pandas'} & set(sys.modules)))"
    assert subprocess.check_output([COLD_PYTHON, "-c", code], text=True, env=ENVIRONMENT).strip() == ""


def test_a_failure_is_one_line_and_status_1(sap, monkeypatch, tmp_path):
    import sap_core.runs.listing as store

    for error, expected in [
        (OperationFailed("No space left on the disk."), "sap: No space left on the disk.\n"),
        (Cancelled("Cancelled; kept."), "sap: Cancelled; kept.\n"),
        (ZeroDivisionError("a\nb"), "sap: Unexpected: ZeroDivisionError: a b (SAP_TRACEBACK=1 shows where.)\n"),
    ]:

        def fail(*args, error=error, **kwargs):
            raise error

        monkeypatch.setattr(store, "list_runs", fail)
        answer = sap("runs", "list", "--json")
        assert (answer.status, answer.out, answer.err) == (1, "", expected)


def test_ctrl_c_asks_first_and_insists_second():
    with STOP.listening(), pytest.raises(Cancelled, match="Stopped by SIGINT; nothing was written"):
        with console.work() as progress:
            progress(Progress("steps", 1, 3))
            os.kill(os.getpid(), signal.SIGINT)
            progress(Progress("steps", 2, 3))
            raise AssertionError("it went on")
    with STOP.listening(), pytest.raises(Cancelled, match="Stopped by SIGINT"), console.work():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("it went on")
    with STOP.listening(), pytest.raises(KeyboardInterrupt):  # outside long work there is nothing to wait for
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("it went on")


def test_progress_goes_to_standard_error_one_line_per_stage(capsys):
    with console.work("prune") as progress:
        print("a library talks")
        progress(Progress("load", 0, 1))
        for done in range(3):
            progress(Progress("steps", done, 3))
        progress(Progress("save", 1, 2, "writing weights"))
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines() == ["a library talks", "prune steps", "prune writing weights"]


SPECS = {
    "capture": [CaptureSpec],
    "prune": [PruneSpec, ProgressivePruneSpec, SearchPruneSpec],
    "evaluate": [EvaluateSpec],
    "export": [ExportSpec],
    "elastic": [ElasticSpec],
    "push": [PushSpec],
    "sweep": [SweepSpec],
}


@pytest.mark.parametrize("name", SPECS)
def test_every_field_of_a_spec_is_an_option_of_its_command(name):
    """With the spec's own help and default, so that nothing is said twice."""
    options = {option.name: option for option in typer.main.get_command(cli.app).commands[name].params}
    for field, info in fields_of(*SPECS[name]).items():
        option = options["prompt" if field == "prompts" else field]
        assert option.help == info.description and info.description.endswith("."), field
        if hasattr(option, "show_default") and field != "prompts":
            assert option.show_default == shown_default(info), field
        left_out = field in ("method", "budget") or (name, field) == ("capture", "model")  # which --resume knows
        assert option.required == (info.is_required() and not left_out), field


def test_shown_defaults():
    options = {option.name: option for option in typer.main.get_command(cli.app).commands["prune"].params}
    shown = {name: options[name].show_default for name in ("sparsity", "samples", "allocation", "method", "budget")}
    assert shown == {
        "sparsity": "0.5", "samples": "64", "allocation": "uniform; without --method owl",
        "method": "what measured best", "budget": False,
    }  # fmt: skip
    rule = next(p for p in typer.main.get_command(cli.app).commands["sinks"].params if p.name == "rule")
    assert all(known in rule.help for known in SINK_RULES) and rule.default == "column_sum"
