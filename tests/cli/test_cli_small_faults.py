"""Small faults at the command line: output that can't be written, numbers that are none, room, modes, removed runs."""

# ruff: noqa: E501 (one case a line)

from __future__ import annotations

import os
import shutil
import stat
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import sap_core as sap
from sap_core.cli import main
from sap_core.errors import InvalidInput, OperationFailed
from sap_core.models.loaded import LoadedModel
from sap_core.runs.store import create_run
from sap_core.samplers.denoise import Forward
from sap_core.specs import CaptureSpec
from sap_core.storage.output import Output


def in_child(words: list[str], stdout: str, tmp_path: Path, stderr: str | None = None) -> tuple[int, str]:
    """Exit status of a command in a process of its own, whose outputs are files; what it said on standard error."""
    said = Path(stderr) if stderr else tmp_path / "said"
    child = os.fork()
    if child == 0:
        status = 99
        try:
            import sys

            os.dup2(os.open(stdout, os.O_WRONLY | os.O_CREAT), 1)
            os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", buffering=1, closefd=False)
            status = main(words)
            sys.stdout.flush()  # as Python does at its end
            sys.stderr.flush()
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, "" if stderr else said.read_text()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_diffusion: Path) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    model = sap.load_model(str(tiny_diffusion), device="cpu")
    return sap.capture(model, prompt="w1 w2", length=12, steps=4, out=out).path


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux only")
@pytest.mark.parametrize(
    "words",
    [
        ["runs", "list"], ["runs", "list", "--json"], ["runs", "show", "RUN"], ["runs", "check", "RUN"], ["sinks", "RUN"],
        ["heads", "RUN", "--json"], ["compare", "RUN", "RUN"], ["models"], ["--help"], ["--version"], ["demo", "stories"],
        ["figure", "RUN", "--out", "OUT.html"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_result_that_can_not_be_written_is_a_failure(
    run: Path, tmp_path: Path, monkeypatch, words: list[str]
) -> None:
    monkeypatch.setenv("SAP_RUNS", str(run.parent))
    words = [{"RUN": str(run), "OUT.html": str(tmp_path / "f.html")}.get(word, word) for word in words]
    status, said = in_child(words, "/dev/full", tmp_path)
    assert status == 1, said
    assert said.splitlines()[-1].startswith("sap: The result can't be written to standard output (No space left")
    assert sum(line.startswith("sap: ") for line in said.splitlines()) == 1 and "Traceback" not in said
    ok, _ = in_child([*words[:-1], str(tmp_path / "g.html")] if "figure" in words else words, os.devnull, tmp_path)
    assert ok == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux only")
def test_work_goes_on_where_nobody_can_watch(tiny_diffusion: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["capture", "--model", str(tiny_diffusion), "--length", "12", "--steps", "3", "--out", str(out)]
    status, _ = in_child(words, os.devnull, tmp_path, stderr="/dev/full")
    assert status == 0 and sap.open_run(out).state == "finished"


@pytest.mark.parametrize("option", ["--temperature", "--guidance", "--confidence-temperature", "--entropy-limit"])
@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e400", "1e300"])
def test_numbers_that_are_none(tiny_diffusion: Path, tmp_path: Path, capsys, option: str, value: str) -> None:
    if (option, value) == ("--entropy-limit", "1e300"):
        pytest.skip("a bound that nothing exceeds is one")
    words = ["capture", "--model", str(tiny_diffusion), "--out", str(tmp_path / "x"), option, value]
    assert main(words) == 2 and not (tmp_path / "x").exists()
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and option[2:].replace("-", "_") in said


@pytest.mark.parametrize("fields", [{"temperature": float("nan")}, {"guidance": float("inf")}])
def test_numbers_that_are_none_in_python(fields: dict) -> None:
    with pytest.raises(InvalidInput, match=r"(temperature|guidance) is (nan|inf)"):
        CaptureSpec.build(model="m", **fields)


@pytest.mark.parametrize("more", [[], ["--streamed"]])
@pytest.mark.parametrize("name", ["missing.txt", "empty.txt", "bad.txt", "blank.jsonl", "ids.npy"])
def test_a_dry_run_reads_the_calibration_file(
    tiny_diffusion: Path, tmp_path: Path, capsys, name: str, more: list
) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x80")
    (tmp_path / "blank.jsonl").write_text('{"other": 1}\n')
    np.save(tmp_path / "ids.npy", np.full((1, 4), 999))
    words = ["prune", "--model", str(tiny_diffusion), "--method", "wanda", "--sparsity", "0.5", "--dry-run"]
    assert main([*words, "--calibration", str(tmp_path / name), *more]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    (tmp_path / "good.txt").write_text("w1 w2 w3\n" * 9)
    assert main([*words, "--calibration", str(tmp_path / "good.txt"), *more]) == 0


@pytest.mark.parametrize(
    "words",
    [
        ["capture", "--length", "16"],
        ["prune", "--method", "magnitude", "--sparsity", "0.5"],
        ["prune", "--method", "magnitude", "--sparsity", "0.5", "--streamed"],
        ["elastic", "--method", "magnitude"],
        ["sweep", "--methods", "magnitude", "--sparsities", "0.5"],
    ],
    ids=lambda words: " ".join(words[:1] + words[-1:]),
)
def test_room_is_checked_before_the_work(
    tiny_diffusion: Path, tmp_path: Path, monkeypatch, capsys, words: list[str]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=1 << 40, used=0, free=4096))
    assert main([*words, "--model", str(tiny_diffusion), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "free; free some space" in said[-1] and sum(line.startswith("sap: ") for line in said) == 1
    assert not list(tmp_path.iterdir())


def test_a_lack_of_memory_is_told(tiny_diffusion: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    def forward(self, *_):
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to allocate "
            "3221225472 bytes. Error code 12 (Cannot allocate memory)"
        )

    monkeypatch.setattr(Forward, "__call__", forward)
    words = ["capture", "--model", str(tiny_diffusion), "--length", "12", "--out", str(tmp_path / "run")]
    assert main(words) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("sap: Out of memory: 3 GiB more were needed and ") and "try a smaller model" in said
    run = sap.open_run(tmp_path / "run")
    assert run.state == "failed" and run.result["error"].startswith("Out of memory")


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002])
def test_weights_have_the_mode_of_any_new_file(tiny_diffusion: Path, tmp_path: Path, umask: int) -> None:
    model = sap.load_model(str(tiny_diffusion), device="cpu")
    before = os.umask(umask)
    try:
        sap.export_checkpoint(model, tmp_path / "out", verify=False)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").iterdir()}
    assert set(modes.values()) == {0o666 & ~umask}, modes
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o777 & ~umask


@pytest.mark.parametrize("away", ["removed", "moved", "replaced"])
@pytest.mark.parametrize("how", ["goes on", "fails"])
def test_a_run_that_is_removed_under_its_writer(tmp_path: Path, away: str, how: str) -> None:
    spec = CaptureSpec.build(model="m")

    def work() -> None:
        with create_run("capture", spec, out=tmp_path / "run") as run:
            if away == "removed":
                shutil.rmtree(run.path)
            else:
                run.path.rename(tmp_path / "elsewhere")
            if away == "replaced":
                create_run("capture", spec, out=tmp_path / "run").release()
            else:
                (run.path / "trajectory").mkdir(parents=True)  # as a store does that makes its folders itself
            if how == "fails":
                raise FileNotFoundError("trajectory/0.zarr")
            run.finish({"text": "w1"})

    with pytest.raises(OperationFailed, match="was removed or moved while it was being written"):
        work()
    assert (tmp_path / "run").exists() == (away == "replaced")
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_a_capture_whose_run_is_removed(tiny_diffusion: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    whole = LoadedModel.logits

    def logits(self, *args, **kwargs):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(LoadedModel, "logits", logits)
    words = [
        "capture",
        "--model",
        str(tiny_diffusion),
        "--length",
        "12",
        "--steps",
        "3",
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(words) == 1
    assert "was removed or moved while it was being written" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_several_writers_of_one_file_lose_nothing(tmp_path: Path) -> None:
    target = tmp_path / "f.html"
    target.write_text("old")
    barrier, kept = threading.Barrier(6), []

    def write(number: int) -> None:
        with Output(target, folder=False, replace=True) as output:
            output.part.write_text(f"figure {number}")
            barrier.wait()
            try:
                kept.append(output.publish().read_text())
            except OperationFailed as error:
                assert "stays as it is; the result is in" in str(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = sorted(path.read_text() for path in tmp_path.iterdir())
    assert found == sorted(f"figure {number}" for number in range(6)) and len(kept) == 1
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
