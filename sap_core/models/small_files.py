"""Read the small files beside a model's weights, bounded in size, each of the expected type.

No torch. What transformers itself reads later is checked here before, so that a pipe, a folder or a nested document is
refused in one line instead of blocking or failing inside the library.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..errors import ModelProblem
from ..untrusted import MIB, is_file, parse_json, read_json, read_text, shown
from .headers import INDEX

SMALL_FILES = ["*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken"]
CONFIG = "config.json"
ADAPTER = "adapter_config.json"
TEMPLATE_LIMIT = MIB
# Largest sizes that are read; a tokenizer of 260,000 words takes some 35 MB.
LIMITS = {CONFIG: 16 * MIB, INDEX: 64 * MIB, "tokenizer.json": 256 * MIB}
_LIMIT = 64 * MIB
_NAMES = ("special_tokens_map.json", "tokenizer_config.json")
# Other documents of a checkpoint that may be lists; the rest are objects.
_OPEN = {"modules.json"}


def read_config(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file of a model folder.

    Raises:
        ModelProblem: no regular file, too large, not JSON, or not an object.
    """
    return read_json(path, path.name, limit=LIMITS.get(path.name, _LIMIT), problem=ModelProblem)


def check_small_files(folder: Path) -> None:
    """Raise ModelProblem for a file beside the weights that can't be read or is larger than any real one."""
    patterns = (*SMALL_FILES, "additional_chat_templates/*")
    for path in sorted(path for pattern in patterns for path in folder.glob(pattern)):
        limit = TEMPLATE_LIMIT if path.suffix == ".jinja" else LIMITS.get(path.name, _LIMIT)
        if not is_file(path):
            raise ModelProblem(f"{path} is no regular file; expected one with content, not a folder or a pipe.")
        if path.stat().st_size > limit:
            raise ModelProblem(f"{path} has {path.stat().st_size} bytes; at most {limit} are read.")
        if not os.access(path, os.R_OK):
            raise ModelProblem(f"{path} can't be read; check its permissions.")
        if path.suffix == ".json" and path.name not in ("tokenizer.json", CONFIG):  # those are read for their content
            result = parse_json(
                read_text(path, path.name, limit=limit, encoding="utf-8-sig", problem=ModelProblem),
                str(path),
                problem=ModelProblem,
            )
            if not isinstance(result, dict) and path.name not in _OPEN:
                raise ModelProblem(f"{path} holds no JSON object; download it again.")


def tokenizer_facts(folder: Path) -> dict[str, Any]:
    """Return tokenizer_config.json with ``vocabulary``: word -> id of the special tokens that tokenizer.json lists.

    Raises:
        ModelProblem: a file that can't be read or whose entries are not of the type that tokenizers write.
    """
    facts: dict[str, Any] = {}
    for name in _NAMES:
        if is_file(folder / name):
            facts.update(read_config(folder / name))
    ids = _listed(folder / "tokenizer.json") | _decoded(folder / "tokenizer_config.json", facts)
    if is_file(folder / "vocab.txt"):  # WordPiece: one word per line, the number is the id
        text = read_text(folder / "vocab.txt", "vocab.txt", limit=_LIMIT, problem=ModelProblem)
        ids.update({word: i for i, word in enumerate(text.split("\n")) if word == "[MASK]"})
    if is_file(folder / "chat_template.jinja"):
        path = folder / "chat_template.jinja"
        facts["chat_template"] = read_text(path, path.name, limit=TEMPLATE_LIMIT, problem=ModelProblem)
    return {**facts, "vocabulary": ids}


def _decoded(path: Path, facts: dict[str, Any]) -> dict[str, int]:
    """Return token -> id of what tokenizer_config.json calls added_tokens_decoder: number -> token."""
    decoder = facts.get("added_tokens_decoder") or {}
    if not isinstance(decoder, dict):
        raise _wrong(path, "added_tokens_decoder", decoder)
    ids: dict[str, int] = {}
    for number, entry in decoder.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("content"), str) or not number.isascii():
            raise _wrong(path, "added_tokens_decoder", entry)
        if not number.isdigit() or len(number) > 18:
            raise _wrong(path, "added_tokens_decoder", number)
        ids[entry["content"]] = int(number)
    return ids


def _listed(path: Path) -> dict[str, int]:
    """Return token -> id of the added tokens that tokenizer.json lists; of two entries for a token, the first."""
    added = (read_config(path).get("added_tokens") or []) if is_file(path) else []
    if not isinstance(added, list):
        raise _wrong(path, "added_tokens", added)
    ids: dict[str, int] = {}
    for entry in added:
        content, number = (entry.get("content"), entry.get("id")) if isinstance(entry, dict) else (None, None)
        if not isinstance(content, str) or type(number) is not int:
            raise _wrong(path, "added_tokens", entry)
        ids.setdefault(content, number)
    return ids


def _wrong(path: Path, field: str, value: Any) -> ModelProblem:
    return ModelProblem(f"{path} has {shown(value)} in {field}; expected tokens with content and id.")
