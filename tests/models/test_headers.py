"""safetensors headers: one reader, which takes a file only if its header describes it to the last byte."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sap_core.errors import ModelProblem
from sap_core.models.headers import HEADER_LIMIT, read_header, read_headers
from sap_core.models.loading import load_model
from sap_core.pruning.streamed.streamed_model import open_streamed

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path: Path, header: Any, body: bytes) -> None:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + body)


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


@pytest.fixture
def folder(tiny_diffusion: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_diffusion, tmp_path / "model"))


Spoil = Callable[[dict[str, Any], str], Any]


def overlapping(header: dict[str, Any], first: str) -> None:
    names = [name for name in header if name != "__metadata__"]
    same = [name for name in names if header[name]["shape"] == header[names[-1]]["shape"]]
    header[same[0]]["data_offsets"] = header[same[-1]]["data_offsets"]


def swapped(header: dict[str, Any], first: str) -> None:
    header[first]["data_offsets"].reverse()


def hole(header: dict[str, Any], first: str) -> None:
    del header[first]


CASES: dict[str, tuple[Spoil, str]] = {
    "overlapping": (overlapping, "overlaps|leaves a hole"),
    "reversed offsets": (swapped, "from 0 upwards"),
    "a hole": (hole, "leaves a hole|header promises"),
    "negative offset": (lambda h, k: h[k].update(data_offsets=[-8, h[k]["data_offsets"][1]]), "from 0 upwards"),
    "offsets as text": (lambda h, k: h[k].update(data_offsets=["0", "8"]), "data_offsets"),
    "three offsets": (lambda h, k: h[k].update(data_offsets=[0, 1, 2]), "data_offsets"),
    "offset beyond 64 bits": (lambda h, k: h[k].update(data_offsets=[0, 1 << 80]), "data_offsets"),
    "another dtype of the same size": (lambda h, k: h[k].update(dtype="I32"), "is stored as int32"),
    "a larger dtype": (lambda h, k: h[k].update(dtype="F64"), "bytes where shape"),
    "an unknown dtype": (lambda h, k: h[k].update(dtype="F4_EVIL"), "does not know"),
    "dtype a list": (lambda h, k: h[k].update(dtype=["F32"]), "does not know"),
    "negative shape": (lambda h, k: h[k].update(shape=[-n for n in h[k]["shape"]]), "shape"),
    "shape as text": (lambda h, k: h[k].update(shape=[str(n) for n in h[k]["shape"]]), "shape"),
    "shape of fractions": (lambda h, k: h[k].update(shape=[float(n) for n in h[k]["shape"]]), "shape"),
    "shape of truths": (lambda h, k: h[k].update(shape=[True]), "shape"),
    "shape of a trillion": (lambda h, k: h[k].update(shape=[10**6, 10**6]), "bytes where shape"),
    "shape without end": (lambda h, k: h[k].update(shape=[1 << 62] * 10_000), "shape"),
    "no shape": (lambda h, k: h[k].pop("shape") and None, "needs dtype"),
    "more than the format has": (lambda h, k: h[k].update(more=1), "nothing else"),
    "an entry that is none": (lambda h, k: h.update({k: 7}), "needs dtype"),
    "metadata that is no text": (lambda h, k: h.update(__metadata__={"a": [1]}), "__metadata__"),
    "infinite shape": (lambda h, k: h[k].update(shape=[float("inf")]), "shape"),
}


@pytest.mark.parametrize("name", CASES)
def test_both_loaders_refuse_the_same_headers(folder: Path, name: str) -> None:
    spoil, message = CASES[name]
    path = folder / "model.safetensors"
    header, body = parts(path)
    spoil(header, next(key for key in header if key != "__metadata__"))
    write(path, header, body)
    for load in (load_model, open_streamed):
        with pytest.raises(ModelProblem, match=message) as caught:
            load(str(folder))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested deeper"),
        (b"[" * 200_000 + b"]" * 200_000, "nested deeper"),
        (b'{"\xff\xfe": 1}', "can't be read as JSON"),
        (b'{"a": ' + b"9" * 6000 + b"}", "can't be read as JSON"),
        (b"[1]", "no JSON object"),
        (b'{"a": 1, "a": 2}', "there twice"),
        (b"{" + b" " * HEADER_LIMIT + b"}", "at most"),
    ],
)
def test_headers_that_are_no_header(tmp_path: Path, raw: bytes, message: str) -> None:
    write(tmp_path / "model.safetensors", raw, b"")
    with pytest.raises(ModelProblem, match=message):
        read_headers(tmp_path)


def test_a_name_that_is_there_twice(folder: Path) -> None:
    path = folder / "model.safetensors"
    header, body = parts(path)
    key = next(key for key in header if key != "__metadata__")
    raw = json.dumps(header)[:-1].encode() + b"," + json.dumps({key: header[key]})[1:].encode()
    write(path, raw, body)
    with pytest.raises(ModelProblem, match="there twice"):
        read_headers(folder)


def test_a_tensor_in_two_shards_and_one_in_another_shard_than_the_index_says(folder: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder / "a.safetensors")
    (folder / "model.safetensors").rename(folder / "b.safetensors")
    keys = [key for key in parts(folder / "a.safetensors")[0] if key != "__metadata__"]
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {key: "ab"[i % 2] + ".safetensors" for i, key in enumerate(keys)}}))
    with pytest.raises(ModelProblem, match=r"both in a.safetensors and in b.safetensors"):
        read_headers(folder)
    write(folder / "b.safetensors", {"other": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}, b"0")
    with pytest.raises(ModelProblem, match=r"in b.safetensors but a.safetensors holds it"):
        read_headers(folder)


def test_what_safetensors_writes_is_read_as_it_is(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    tensors = {
        "a": torch.zeros(3, 4),
        "empty": torch.zeros(0, 5),
        "scalar": torch.tensor(1.0, dtype=torch.bfloat16),
        "ids": torch.arange(7),
        "mask": torch.ones(2, dtype=torch.bool),
        "eight": torch.zeros(4, dtype=torch.float8_e4m3fn),
        "wide": torch.zeros(2, dtype=torch.complex64),
    }
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    found, metadata = read_header(tmp_path, "model.safetensors")
    assert metadata == {"format": "pt"}
    assert {t.key: (t.shape, getattr(torch, t.dtype), t.bytes) for t in found} == {
        key: (tuple(value.shape), value.dtype, value.numel() * value.element_size()) for key, value in tensors.items()
    }
    content = (tmp_path / "model.safetensors").read_bytes()
    ids = next(t for t in found if t.key == "ids")
    assert content[ids.start : ids.start + ids.bytes] == tensors["ids"].numpy().tobytes()


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "BF16", "I8", "F4", "F6_E2M3"]) | JUNK,
        "shape": st.lists(st.integers(0, 4), max_size=3) | JUNK,
        "data_offsets": st.lists(st.integers(0, 64), min_size=2, max_size=2) | JUNK,
    },
)


@QUICK
@given(header=st.dictionaries(st.text(max_size=4), ENTRY | JUNK, max_size=4) | JUNK, size=st.integers(0, 64))
def test_any_header_is_read_or_refused(tmp_path: Path, header: Any, size: int) -> None:
    """Never another exception; what is taken fills the file without overlap and is what safetensors itself reads."""
    from safetensors import safe_open

    path = tmp_path / "model.safetensors"
    write(path, header, bytes(size))
    try:
        found = read_headers(tmp_path)
    except ModelProblem as error:
        assert "\n" not in str(error)
        return
    assert sum(tensor.bytes for tensor in found) == size
    with safe_open(path, framework="np") as file:
        assert set(file.keys()) == {tensor.key for tensor in found}


@QUICK
@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    try:
        read_headers(tmp_path)
    except ModelProblem as error:
        assert "\n" not in str(error)


@QUICK
@given(
    index=JUNK | st.fixed_dictionaries({"weight_map": JUNK | st.dictionaries(st.text(max_size=9), st.text(max_size=9))})
)
def test_any_index_is_read_or_refused(tmp_path: Path, index: Any) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelProblem) as caught:
        read_headers(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_refused_streamed_pruning_leaves_nothing_beside_its_target(folder: Path, tmp_path: Path) -> None:
    from sap_core.export.streamed import prune_checkpoint

    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelProblem, match="not a safetensors file"):
        prune_checkpoint(str(folder), tmp_path / "out", method="magnitude")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
