"""What ran out is told from every other failure, whichever library says it and in whatever it is wrapped."""

from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from sap_core.errors import InvalidInput, OperationFailed
from sap_core.resources import is_full, is_out_of_memory, memory_problem
from sap_core.runs.store import one_line
from sap_core.storage import check_space, disk_problem
from sap_core.untrusted import foreign


def raised(work) -> BaseException:
    with pytest.raises(BaseException) as caught:
        work()
    return caught.value


def wrapped() -> None:
    try:
        raise RuntimeError("std::bad_alloc")
    except RuntimeError as error:
        raise ValueError("the layer failed") from error


@pytest.mark.parametrize(
    ("work", "needed"),
    [
        (lambda: torch.empty(1 << 60, dtype=torch.uint8), "1048576 TiB"),
        (lambda: np.empty((1 << 30, 1 << 20)), "8192 TiB"),
        (lambda: bytearray(1 << 60), ""),
        (lambda: wrapped(), ""),
        (lambda: (_ for _ in ()).throw(OSError(errno.ENOMEM, "Cannot allocate memory")), ""),
        (
            lambda: (_ for _ in ()).throw(torch.OutOfMemoryError("Tried to allocate 2.50 GiB. GPU 0 has ...")),
            r"2\.5 GiB",
        ),
    ],
    ids=["torch", "numpy", "python", "c++", "system", "gpu"],
)
def test_a_lack_of_memory_is_one_line_that_helps(work, needed: str) -> None:
    error = raised(work)
    assert is_out_of_memory(error)
    problem = memory_problem(error)
    assert isinstance(problem, OperationFailed) and one_line(error) == str(problem)
    said = f": {needed} more were needed and .* are free on this machine" if needed else ""
    assert re.fullmatch(f"Out of memory{said}; try a smaller model, a shorter length, .*", str(problem))
    with pytest.raises(type(error)), foreign("the file can't be read"):  # no fault of the file
        raise error


@pytest.mark.parametrize(
    "error", [RuntimeError("shape mismatch"), OSError(errno.ENOENT, "x"), ValueError("memory"), KeyError("x")]
)
def test_other_failures_are_not(error: Exception) -> None:
    assert not is_out_of_memory(error) and not is_full(error)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"),
        RuntimeError("write failed: No space left on device"),
    ],
    ids=["system", "quota", "safetensors", "arrow", "other"],
)
def test_a_full_disk_is_told_whoever_says_it(error: Exception) -> None:
    assert is_full(error)
    assert str(disk_problem(error, "out")).startswith("No space left on the disk while writing out; free some space")


def test_weights_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sap_core.models.saving import write_safetensors

    def full(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_safetensors({"a": torch.zeros(2)}, tmp_path / "w.safetensors", {})
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(tmp_path / "w.safetensors")


def test_room_is_asked_of_the_disk_that_will_hold_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def usage(path):
        asked.append(Path(path))
        return SimpleNamespace(free=3 << 20)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    check_space(tmp_path / "not" / "there" / "yet", 3 << 20, "It")
    assert asked == [tmp_path]
    with pytest.raises(InvalidInput, match=r"^It needs 4 MiB but .* has 3 MiB free; free some space or go home\.$"):
        check_space(tmp_path, 4 << 20, "It", "go home")
    check_space("s3://bucket/run", 1 << 60, "It")
