"""Every bad input is one line on standard error, status 2, at once, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_models import save_tiny_llama

pytest_plugins = ["cli_fixtures"]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def models(tiny_diffusion, tiny_causal, tmp_path_factory):
    """Model folders, most of them broken, by name."""
    home = tmp_path_factory.mktemp("models")

    def copy(name):
        return shutil.copytree(tiny_diffusion, home / name)

    (copy("no-config") / "config.json").unlink()
    (copy("no-weights") / "model.safetensors").unlink()
    pickled = copy("pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    return {
        "good": tiny_diffusion,
        "causal": tiny_causal,
        "no-config": home / "no-config",
        "no-weights": home / "no-weights",
        "pickled": pickled,
        "no-mask": save_tiny_llama(home / "no-mask", causal=False, mask=False),
        "missing": home / "missing",
    }


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def refused(sap, tmp_path, words, message):
    before = tree(tmp_path)
    answer = sap(*words)
    assert answer.status == 2, answer
    assert answer.out == ""
    lines = answer.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("sap: "), answer.err
    assert message in lines[0]
    assert tree(tmp_path) == before


@pytest.mark.parametrize("command", ["capture", "prune", "evaluate"])
@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("missing", "There is no folder"),
        ("no-config", "config.json"),
        ("no-weights", "weights"),
        ("pickled", "safetensors"),
    ],
)
def test_models(sap, tmp_path, models, command, model, message):
    out = [] if command == "evaluate" else ["--out", "out"]
    refused(sap, tmp_path, [command, "--model", models[model], *out], message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sampler", "greedy"], "known: auto, low_confidence"),
        (["--sampler", "autoregressive"], "does not fit"),
        (["--steps", "0"], "steps is 0"),
        (["--steps", "-3"], "steps is -3"),
        (["--steps", "33"], "32 tokens to fill"),
        (["--steps", "32", "--prompt", "w1 w2"], "30 tokens to fill"),
        (["--length", "65"], "at most 64"),
        (["--length", "0"], "length is 0"),
        (["--length", "3", "--prompt", "w1 w2 w3 w4"], "length"),
        (["--temperature", "-1"], "temperature is -1"),
        (["--dtype", "float8"], "dtype is 'float8'"),
        (["--device", "tpu"], "device"),
        (["--steps", "many"], "--steps"),
        (["--nonsense", "1"], "--nonsense"),
    ],
)
def test_capture_settings(sap, tmp_path, models, words, message):
    length = [] if "--length" in words else ["--length", "32"]
    refused(sap, tmp_path, ["capture", "--model", models["good"], "--out", "out", *length, *words], message)


def test_capture_without_a_mask_token(sap, tmp_path, models):
    refused(sap, tmp_path, ["capture", "--model", models["no-mask"], "--length", "16", "--out", "out"], "mask token")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "wandaa"], "known: magnitude, wanda"),
        (["--method", "wandaa"], "Did you mean 'wanda'?"),
        (["--pattern", "3:2"], "known: unstructured"),
        (["--sparsity", "1"], "[0, 1)"),
        (["--sparsity", "-0.1"], "[0, 1)"),
        (["--sparsity", "nan"], "[0, 1)"),
        (["--pattern", "2:4", "--sparsity", "0.6"], "give --sparsity 0.5"),
        (["--method", "heads", "--pattern", "2:4"], "has no pattern 2:4"),
        (["--method", "heads", "--heads", "0-1"], "LAYER.HEAD"),
        (["--method", "heads", "--heads", "9.0"], "9"),
        (["--method", "wanda", "--heads", "0.1"], "belong to method 'heads'"),
        (["--method", "heads", "--run", "nothing"], "does not exist"),
        (["--samples", "0"], "samples is 0"),
        (["--allocation", "olw"], "known: uniform, owl"),
        (["--allocation", "table", "--allocation-table", "0.5,x"], "expected numbers"),
        (["--order", "twice"], "order is 'twice'"),
    ],
)
def test_prune_settings(sap, tmp_path, models, words, message):
    refused(sap, tmp_path, ["prune", "--model", models["good"], *words, "--out", "out"], message)
    refused(sap, tmp_path, ["prune", "--model", models["good"], *words, "--dry-run"], message)


def test_prune_needs_a_place(sap, tmp_path, models):
    refused(sap, tmp_path, ["prune", "--model", models["good"]], "give --out DIR, or --dry-run")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.npy", None, "does not exist"),
        ("none.txt", None, "does not exist"),
        ("empty.npy", b"", "is empty"),
        ("empty.txt", b"", "is empty"),
        ("blank.txt", b" \n ", "calibration"),
        ("shape.npy", np.zeros(5, np.int64), "expected (samples, length)"),
        ("no-rows.npy", np.zeros((0, 8), np.int64), "is empty"),
        ("floats.npy", np.zeros((2, 8)), "expected int64"),
        ("int32.npy", np.zeros((2, 8), np.int32), "expected int64"),
        ("large.npy", np.full((2, 8), 96), "vocabulary is 0 to 95"),
        ("negative.npy", np.full((2, 8), -1), "vocabulary is 0 to 95"),
        ("long.npy", np.zeros((2, 65), np.int64), "64 positions"),
        ("text.npy", b"hello", "not a readable .npy"),
        ("objects.npy", np.array([[{}]]), "not a readable .npy"),
        (
            "ids.csv",
            b"1,2",
            "expected demo, FILE.txt",
        ),
    ],
)
def test_calibration_files(sap, tmp_path, models, name, content, message):
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        np.save(tmp_path / name, content)
    words = ["prune", "--model", models["good"], "--calibration", name]
    refused(sap, tmp_path, [*words, "--out", "out"], message)
    if name != "blank.txt":  # what a text holds is known to the tokenizer alone, which a dry run does not load
        refused(sap, tmp_path, [*words, "--dry-run"], message)


@pytest.mark.parametrize("command", ["capture", "prune"])
def test_output_folders(sap, tmp_path, models, command):
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("x")
    start = [command, "--model", models["good"], "--out"]
    refused(sap, tmp_path, [*start, "there"], "exists already")
    refused(sap, tmp_path, [*start, "file"], "exists already")
    refused(sap, tmp_path, [*start, "file/out"], "can't be written")


@pytest.mark.parametrize(
    "command", [["sinks"], ["heads"], ["compare", "good"], ["export", "--out", "x"], ["runs", "show"]]
)
def test_runs(sap, tmp_path, command):
    from sap_core.runs.store import create_run
    from sap_core.specs import CaptureSpec

    for name in ("good", "unfinished", "truncated", "newer"):
        with create_run("capture", CaptureSpec.build(model="m"), out=tmp_path / name) as run:
            run.finish({"text": name})
    (tmp_path / "unfinished" / "manifest.json").unlink()
    (tmp_path / "truncated" / "result.json").write_text('{"te')
    manifest = json.loads((tmp_path / "newer" / "manifest.json").read_text())
    (tmp_path / "newer" / "manifest.json").write_text(json.dumps(manifest | {"schema": 2}))
    (tmp_path / "foreign").mkdir()
    cases = [("foreign", "not a run folder"), ("none", "not exist")]
    damaged = [("truncated", "truncated"), ("newer", "newer version")]
    if command != ["runs", "show"]:
        cases += [*damaged, ("unfinished", "unfinished")]
    else:  # which says what is wrong with a damaged run
        for name, _ in damaged:
            shown = sap("runs", "show", str(tmp_path / name))
            assert shown.status == 0 and ("damaged" in shown.out or "newer version" in shown.out)
    for name, message in cases:
        refused(sap, tmp_path, [*command, name], message)


def test_runs_of_the_wrong_kind(sap, tmp_path):
    from sap_core.runs.store import create_run
    from sap_core.specs import CaptureSpec, PruneSpec

    with create_run("prune", PruneSpec.build(model="m", method="sink"), out=tmp_path / "p") as run:
        run.finish({})
    with create_run("capture", CaptureSpec.build(model="m"), out=tmp_path / "c") as run:
        run.finish({})
    refused(sap, tmp_path, ["sinks", "p"], "has no trajectory")
    refused(sap, tmp_path, ["export", "c", "--out", "x"], "give a finished prune run")
    refused(sap, tmp_path, ["sinks", "c", "--rule", "median"], "known: column_sum, rate, zscore")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate", "--text", "none.txt"], "none.txt"),
        (["evaluate", "--baseline", "nowhere/at/all"], "nowhere"),
        (["evaluate", "--draws", "0"], "draws is 0"),
        (["models", "nowhere/at/all"], "nowhere"),
        (["runs", "delete", "none"], "does not exist"),
        (["runs", "import", "none.zip"], "does not exist"),
        (["demo", "stories", "-n", "0"], "-n"),
        (["studio", "--port", "0"], "--port"),
        (["verify", "."], "sap_verify"),
    ],
)
def test_other_commands(sap, tmp_path, models, words, message):
    model = ["--model", models["good"]] if words[0] == "evaluate" else []
    refused(sap, tmp_path, [*words, *model], message)


def test_as_a_real_process(tmp_path, models):
    command = [sys.executable, "-c", "import sys; from sap_core.cli import main; sys.exit(main())"]
    words = ["prune", "--model", str(models["good"]), "--sparsity", "2", "--out", "out", "--json"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, cwd=tmp_path, env=_environment())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "sap: sparsity is 2; expected a share in [0, 1), such as 0.5.\n"
    assert list(tmp_path.iterdir()) == []


def _environment():
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}
