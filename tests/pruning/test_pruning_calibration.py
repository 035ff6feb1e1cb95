"""Calibration data: the four sources and everything that can be wrong with them."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from tiny_models import lettered_tokenizer

from sap_core.errors import InvalidInput
from sap_core.models.tokens import encode_marked
from sap_core.pruning.scoring.calibration import read_calibration
from sap_core.texts.rows import Encoder
from sap_core.texts.source import TextSource

TOKENIZER = lettered_tokenizer()


def read(source, **changes):
    reading = {name: changes.pop(name) for name in ("columns", "split", "join") if name in changes}
    options = {"samples": 4, "length": None, "seed": 0, "vocab_size": 96, "max_length": 64}
    options |= {"encoder": Encoder(TOKENIZER, True, 2, partial(encode_marked, TOKENIZER))} | changes
    return read_calibration(TextSource(str(source), "calibration", **reading), **options)


def test_ids_are_used_as_they_are(tmp_path):
    ids = np.arange(60, dtype=np.int64).reshape(5, 12)
    np.save(tmp_path / "ids.npy", ids)
    found = read(tmp_path / "ids.npy", samples=2, length=3)
    assert (found.tokens == ids).all() and found.valid.all()
    assert found.describe()["samples"] == 5


def test_stories_end_with_the_end_token_and_their_fill_does_not_count():
    found = read("demo", max_length=512, samples=6, end_id=1)
    assert found.tokens.shape[0] == 6 and found.tokens.shape[1] % 16 == 0
    for tokens, valid in zip(found.tokens, found.valid, strict=True):
        assert tokens[valid][-1] == 1 and (tokens[~valid] == 1).all() and not (tokens[valid][:-1] == 1).any()
    assert (read("demo", seed=1).tokens != read("demo", seed=0).tokens).any()
    assert (read("demo").tokens == read("demo").tokens).all()


def test_stories_for_any_other_model_are_texts_and_fill_nothing():
    found = read("demo", samples=6)
    assert found.maskable[found.valid].all() and (found.lengths == found.valid.sum(1)).all()
    assert not (found.tokens[found.valid] == 1).any()


def test_a_text_file_has_one_text_a_line(tmp_path):
    (tmp_path / "text.txt").write_text("w1 w2 w3\n\nw4\nw5 w6 w7 w8 w9\n")
    found = read(tmp_path / "text.txt", samples=10, length=4)
    assert found.tokens.tolist() == [[8, 0, 0, 0], [5, 6, 7, 0], [9, 10, 11, 12]]
    assert found.lengths.tolist() == found.valid.sum(1).tolist() == [1, 3, 4]
    facts = found.describe()
    assert (facts["texts"], facts["available"], facts["tokens"], facts["cut"]) == (3, 3, 8, 1)


def test_joined_texts_are_cut_into_windows_without_overlap(tmp_path):
    (tmp_path / "text.txt").write_text(" ".join(f"w{i % 80 + 1}" for i in range(205)))
    found = read(tmp_path / "text.txt", length=20, samples=10, join=True)
    assert found.tokens.shape == (10, 20)
    assert (found.tokens.flatten() == [4 + (i % 80 + 1) for i in range(200)]).all()
    facts = found.describe()
    assert (facts["windows"], facts["dropped"], facts["tokens"]) == (10, 5, 200)
    assert read(tmp_path / "text.txt", length=20, samples=3, join=True).tokens.shape == (3, 20)


def test_texts_the_model_does_not_know_are_refused(tmp_path):
    (tmp_path / "text.txt").write_text("w1 w2 w3\n<other> <words> w1\n")
    with pytest.raises(InvalidInput, match=r"33% of the tokens of .* are unknown .*'<unk> <unk> w1'.*--calibration"):
        read(tmp_path / "text.txt")


@pytest.mark.parametrize(("ids", "words"), [
    (np.zeros((2, 4), np.int32), "holds int32; expected int64"),
    (np.zeros((2, 4), np.float32), "holds float32"),
    (np.zeros(8, np.int64), r"shape \(8,\); expected \(samples, length\)"),
    (np.zeros((0, 4), np.int64), "is empty"),
    (np.full((2, 4), 96), "ids 96 to 96 but the vocabulary is 0 to 95"),
    (np.full((2, 4), -1), "ids -1"),
    (np.zeros((2, 65), np.int64), "65 tokens but the model has 64 positions"),
])  # fmt: skip
def test_unusable_ids_are_refused(tmp_path, ids, words):
    np.save(tmp_path / "bad.npy", ids)
    with pytest.raises(InvalidInput, match=words):
        read(tmp_path / "bad.npy")


@pytest.mark.parametrize(("name", "content", "words"), [
    ("empty.txt", b"", "is empty"),
    ("blank.txt", b" \n ", "is empty"),
    ("empty.npy", b"", "is empty"),
    ("latin.txt", b"caf\xe9", "not UTF-8"),
    ("broken.npy", b"not numpy at all", "not a readable .npy"),
    ("data.csv", b"a,b", "expected demo, FILE.txt"),
])  # fmt: skip
def test_unusable_files_are_refused(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=words) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_file_with_python_objects_is_refused_and_not_run(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InvalidInput, match="not a readable"):
        read(tmp_path / "objects.npy")


def test_text_needs_a_tokenizer_and_a_length_the_model_takes():
    with pytest.raises(InvalidInput, match="no tokenizer"):
        read("demo", encoder=None)
    with pytest.raises(InvalidInput, match="64 positions"):
        read("demo", length=65)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A folder of parquet files, as the Hub serves them."""
    import pandas as pd

    folder = tmp_path_factory.mktemp("dataset")
    texts = [" ".join(f"w{1 + (i + j) % 40}" for j in range(30)) for i in range(20)]
    pd.DataFrame({"story": texts, "number": range(20)}).to_parquet(folder / "train.parquet")
    return folder


def test_a_data_set_is_read_by_split_and_column(dataset):
    pytest.importorskip("datasets", reason="datasets is not installed: pip install 'sap-studio[datasets]'")
    found = read(f"dataset:{dataset}", length=20, samples=8, columns=("story",))
    assert found.tokens.shape == (8, 20) and found.describe()["source"] == f"dataset:{dataset}"
    again, other = (read(f"dataset:{dataset}", length=20, samples=8, columns=("story",), seed=seed) for seed in (0, 1))
    assert (again.tokens == found.tokens).all() and (other.tokens != found.tokens).any()
    for changes, words in (
        ({"columns": ("text",)}, "columns story, number, not 'text'"),
        ({"columns": ("number",)}, "column 'number' of data set .* holds int"),
        ({"columns": ("story",), "split": "dev"}, "dev"),
    ):
        with pytest.raises(InvalidInput, match=words):
            read(f"dataset:{dataset}", length=20, **changes)
    with pytest.raises(InvalidInput, match="can't be read"):
        read("dataset:no/such-data-set-here", length=20)
    with pytest.raises(InvalidInput, match="expected dataset:NAME"):
        read("dataset:")


def test_the_fields_of_a_data_set_belong_to_one():
    from sap_core.specs import PruneSpec

    with pytest.raises(InvalidInput, match="calibration_split does not go with calibration 'demo'"):
        PruneSpec.build(model="m", method="sink", calibration_split="validation")
