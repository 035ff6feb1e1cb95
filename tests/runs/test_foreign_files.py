"""Whatever is in a file from outside: a value that fits, or one line of this package's own errors."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from sample_runs import capture_run

from sap_core.errors import InvalidInput, RunProblem, SapError
from sap_core.runs.check import check_run
from sap_core.runs.documents import ManifestDocument, MetaDocument, ResultDocument, SpecDocument, parse_document
from sap_core.runs.listing import delete_run, list_runs
from sap_core.runs.reading import open_run
from sap_core.samplers.prompts import read_prompts
from sap_core.untrusted import read_npy

QUIET = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LIMIT = 1 << 20
DOCUMENTS = {
    "spec.json": SpecDocument,
    "manifest.json": ManifestDocument,
    "meta.json": MetaDocument,
    "result.json": ResultDocument,
}
KEYS = sorted({field.alias or name for schema in DOCUMENTS.values() for name, field in schema.model_fields.items()})
texts = st.text(st.characters(exclude_categories=[]), max_size=12) | st.sampled_from(["../x", "/etc/passwd", "\0"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=6,
)
documents = st.dictionaries(st.sampled_from(KEYS) | texts, values, max_size=8)
contents = st.binary(max_size=60) | documents.map(json.dumps).map(str.encode)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A root with a sound run and one to spoil."""
    root = tmp_path_factory.mktemp("store")
    return root, capture_run(root, name="sound", steps=2, positions=4), capture_run(root, steps=2, positions=4)


@given(name=st.sampled_from(sorted(DOCUMENTS)), content=contents)
@example(
    name="manifest.json", content=b'{"schema": 1, "kind": "capture", "state": "finished", "files": {"../x": [1, ""]}}'
)
@example(name="meta.json", content=b"[" * 5000)
@example(name="spec.json", content=b'{"kind": "capture", "kind": "prune"}')
@QUIET
def test_a_spoilt_document_is_one_damaged_run_and_harms_no_other(store, name, content):
    root, sound, spoilt = store
    before = (spoilt / name).read_bytes() if (spoilt / name).exists() else None
    (spoilt / name).write_bytes(content)
    try:
        found = {run.id: run for run in list_runs(root)}
        assert set(found) == {sound.name, spoilt.name} and found[sound.name].state == "finished"
        try:
            run = open_run(spoilt, unfinished=True)
            _ = run.name, run.state, run.created, run.meta, run.text, run.result
        except SapError as error:
            assert "\n" not in str(error) and spoilt.name in str(error)
        if name != "meta.json":
            assert check_run(spoilt).problems
    finally:
        (spoilt / name).unlink() if before is None else (spoilt / name).write_bytes(before)
    assert open_run(spoilt).state == "finished"


@given(
    schema=st.sampled_from(list(DOCUMENTS.values())),
    content=contents,
)
@QUIET
def test_a_document_fits_its_schema_or_is_refused_in_one_line(schema, content):
    try:
        found = parse_document(content, schema, "x.json", "Run x")
    except RunProblem as problem:
        assert str(problem).startswith("Run x is damaged: its x.json can't be used: ") and str(problem).isprintable()
    else:
        assert schema.model_validate(found) and found == json.loads(content)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@given(
    shape=st.lists(st.integers(0, 4), max_size=3), dtype=st.sampled_from(["<i8", ">i4", "<f8", "|b1", "<u2"]),
    order=st.sampled_from("CF"),
)  # fmt: skip
@QUIET
def test_an_array_comes_back_as_it_was(tmp_path, shape, dtype, order):
    array = np.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape), dtype=dtype, order=order)
    (tmp_path / "x.npy").write_bytes(npy(array))
    found = read_npy(tmp_path / "x.npy", "file", limit=LIMIT)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype and found.flags.writeable


@given(data=st.data())
@QUIET
def test_any_change_of_an_array_is_an_array_or_one_error(tmp_path, data):
    content = bytearray(npy(np.arange(6).reshape(2, 3)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        piece = data.draw(st.binary(max_size=6) | st.sampled_from([b"(", b"9" * 30, b"|O", b"-1", b",'", b"\0"]))
        content[at : at + data.draw(st.integers(0, 6))] = piece
    (tmp_path / "x.npy").write_bytes(content)
    try:
        found = read_npy(tmp_path / "x.npy", "file", limit=LIMIT)
    except InvalidInput as error:
        assert "\n" not in str(error)
    else:
        assert found.nbytes <= len(content) and not found.dtype.hasobject


lines = st.one_of(
    st.binary(max_size=20), values.map(json.dumps).map(str.encode), texts.map(json.dumps).map(str.encode),
    texts.map(lambda text: json.dumps({"prompt": text}).encode()), st.just(b"[" * 3000),
)  # fmt: skip


@given(st.lists(lines, max_size=6))
@example([b'"\\ud800"'])
@example([b'{"prompt": "a\\udfff"}'])
@example([b'"\\u0000"'])
@QUIET
def test_any_jsonl_is_its_prompts_or_one_error(tmp_path, found):
    (tmp_path / "x.jsonl").write_bytes(b"\n".join(found))
    try:
        prompts = read_prompts(tmp_path / "x.jsonl")
    except InvalidInput as error:
        assert "\n" not in str(error)
    else:
        assert prompts and all(isinstance(prompt, str) for prompt in prompts)
        "".join(prompts).encode()  # what a tokenizer, a page and a file can take


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12), min_size=1, max_size=5))
@QUIET
def test_prompts_come_back_letter_for_letter(tmp_path, prompts):
    assume(all(prompt.strip() for prompt in prompts))
    (tmp_path / "x.jsonl").write_text("\n".join(json.dumps({"prompt": prompt}) for prompt in prompts))
    assert read_prompts(tmp_path / "x.jsonl") == tuple(prompts)


def test_a_spoilt_run_can_be_deleted(tmp_path):
    spoilt = capture_run(tmp_path, steps=2, positions=4)
    (spoilt / "manifest.json").write_bytes(b"[" * 5000)
    delete_run(spoilt)
    assert not spoilt.exists()
