"""Encode texts; run by `sap_core.confined` in a separate process, by path, without the package."""

from typing import Any

from tokenizers import Tokenizer

loaded: dict[str, Tokenizer] = {}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Take {"tokenizer": JSON}, once; then return {"ids", "added"} for {"text", "special"}."""
    if "tokenizer" in request:
        tokenizer = Tokenizer.from_str(request["tokenizer"])
        tokenizer.no_padding()
        tokenizer.no_truncation()
        loaded["tokenizer"] = tokenizer
        return {}
    found = loaded["tokenizer"].encode(request["text"], add_special_tokens=request["special"])
    return {"ids": found.ids, "added": found.special_tokens_mask}
