"""Prompts from files and ready sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from sap_core.errors import InvalidInput, UnknownOption
from sap_core.samplers.prompts import PRESETS, preset, read_prompts
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
