"""Prompts from files and ready sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from sap_core.errors import InvalidInput, UnknownOption
from sap_core.models.loading import load_model
from sap_core.samplers.prompts import PRESETS, preset, read_prompts, unknown_prompts
from sap_core.stories.corpus import vocabulary, words


def test_one_prompt_per_line(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes("\ufeffone two\r\n\n  three \nfour".encode())
    assert read_prompts(tmp_path / "p.txt") == ("one two", "  three ", "four")
    (tmp_path / "p.jsonl").write_text('"one\\ntwo"\n{"prompt": "three", "answer": 3}\n{"text": "four"}\n\n')
    assert read_prompts(str(tmp_path / "p.jsonl")) == ("one\ntwo", "three", "four")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", None, "does not exist"),
        ("p.csv", b"a", "expected a FILE.txt or a FILE.jsonl"),
        ("p.txt", b"\n \n", "is empty"),
        ("p.txt", b"\xff\xfe\x00", "is not UTF-8"),
        ("p.jsonl", b'"a"\n{"words": "b"}', "line 2: holds the keys words, not prompt or text"),
        ("p.jsonl", b"{", "line 1 can.t be read as JSON"),
    ],
)
def test_files_that_hold_no_prompts(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        read_prompts(tmp_path / name)


def test_ready_sets() -> None:
    assert all(len(set(texts)) == len(texts) >= 4 for texts in PRESETS.values())
    known = set(vocabulary())
    assert all(word in known for text in preset("stories") for word in words(text))
    with pytest.raises(UnknownOption, match=r"Unknown preset of prompts 'storys'; .*stories"):
        preset("storys")


def test_the_key_of_a_file_of_prompts_is_an_option(tmp_path, capsys):
    from sap_core.cli import main

    (tmp_path / "asked.jsonl").write_text('{"question": "why"}\n')
    assert read_prompts(tmp_path / "asked.jsonl", "question") == ("why",)
    words = ["capture", "--model", "nowhere", "--prompts", str(tmp_path / "asked.jsonl")]
    assert main(words) == 2 and "name the key with --column" in capsys.readouterr().err
    assert main([*words, "--column", "question"]) == 2 and "--column" not in capsys.readouterr().err
    assert main(["capture", "--model", "nowhere", "--column", "question"]) == 2
    assert "FILE.jsonl of --prompts" in capsys.readouterr().err


def test_a_prompt_of_unknown_tokens_shows_what_the_model_reads():
    model = load_model(str(Path(__file__).parents[1] / "own_model" / "bert"))
    assert unknown_prompts(model, ["import sys"]) is None and unknown_prompts(model, [""]) is None
    found = unknown_prompts(model, ["import", "Ένα"])
    assert "1 of 2 prompts" in found and "'Ένα' as [UNK]" in found
