"""A tokenizer as llama.cpp reads it: byte-level BPE with a rule it knows for cutting text, or none."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel

NO_TOKENIZER = "none"
_START = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_END = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# Regular expression by which a tokenizer cuts a text before BPE -> llama.cpp's name of it.
_RULES = {f"{_START}\\p{{N}}{_END}": "qwen2", f"{_START}\\p{{N}}{{1,3}}{_END}": "llama-bpe"}


@dataclass(frozen=True)
class Vocabulary:
    """What a GGUF file says of a tokenizer; ``model`` "none": nothing but the number of tokens."""

    model: str
    rule: str = ""
    tokens: list[str] = field(default_factory=list)
    types: list[int] = field(default_factory=list)
    merges: list[str] = field(default_factory=list)
    special: dict[str, int] = field(default_factory=dict)
    chat_template: str = ""

    def write(self, writer: Any) -> None:
        """Write it with a `gguf.GGUFWriter`."""
        writer.add_tokenizer_model(self.model)
        if self.model == NO_TOKENIZER:
            return
        writer.add_tokenizer_pre(self.rule)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        writer.add_token_merges(self.merges)
        writer.add_add_bos_token(False)
        for name, token in self.special.items():
            getattr(writer, f"add_{name}_token_id")(token)
        if self.chat_template:
            writer.add_chat_template(self.chat_template)


def vocabulary_of(model: LoadedModel) -> Vocabulary | None:
    """Return the vocabulary of a model's tokenizer; None where llama.cpp would cut texts in another way, or not at all.

    A wrong tokenizer gives wrong tokens without an error, so only byte-level BPE with a known rule is written.
    """
    backend = getattr(model.tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    document = json.loads(backend.to_str())
    inner, rule = document.get("model") or {}, _rule(document.get("pre_tokenizer") or {})
    if inner.get("type") != "BPE" or not rule or document.get("normalizer") not in (None, {"type": "NFC"}):
        return None
    added = {token["id"]: token for token in document.get("added_tokens") or ()}
    named = {number: token for token, number in inner["vocab"].items()}
    tokens, types = [], []
    for number in range(model.info.vocab_size):
        token = added.get(number)
        tokens.append(token["content"] if token else named.get(number, f"[PAD{number}]"))
        types.append((3 if token["special"] else 4) if token else (1 if number in named else 5))
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in inner["merges"]]
    found = {name: getattr(model.tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    special = {name: number for name, number in found.items() if number is not None}
    return Vocabulary("gpt2", rule, tokens, types, merges, special, model.info.chat_template)


def _rule(part: dict[str, Any]) -> str:
    """Return llama.cpp's name of the rule by which a tokenizer cuts a text; "" for one that is not known here."""
    parts = part.get("pretokenizers", [part])
    kinds = [one.get("type") for one in parts]
    if kinds == ["ByteLevel"] and parts[0].get("use_regex", True) and not parts[0].get("add_prefix_space"):
        return "gpt-2"
    if kinds != ["Split", "ByteLevel"] or parts[1].get("add_prefix_space") or parts[1].get("use_regex", True):
        return ""
    return _RULES.get((parts[0].get("pattern") or {}).get("Regex", ""), "")
