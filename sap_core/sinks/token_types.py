"""Kinds of tokens: content, punctuation, white space, special, or still masked."""

from __future__ import annotations

import json
import re

import numpy as np
import xarray as xr
from jaxtyping import Int

TYPES = ("content", "punctuation", "whitespace", "special", "mask")
# How tokenizers write their special tokens: <eos>, <|endoftext|>, [CLS]. <0x0A> is a byte, not one of them.
SPECIAL = re.compile(r"<\|.*\|>|</?[^\s<>]+>|\[[A-Z_]+\d*\]", re.DOTALL)
MARKS = str.maketrans("", "", "▁Ġ")  # word starts as sentencepiece and byte-level tokenizers mark them
NEWLINES = "ĊĉčĠ▁"


def token_type(text: str, masked: bool = False) -> str:
    """Return the kind of one token by its text, one of `TYPES`; a token without a letter or digit is punctuation."""
    if masked:
        return "mask"
    if SPECIAL.fullmatch(text.strip()) and not re.fullmatch(r"<0x[0-9A-Fa-f]{2}>", text.strip()):
        return "special"
    if not text.strip().strip(NEWLINES):
        return "whitespace"
    bare = text.translate(MARKS)
    return "content" if any(letter.isalnum() for letter in bare) else "punctuation"


def token_types(trajectory: xr.Dataset) -> Int[np.ndarray, "step position"]:
    """Return indices into `TYPES` (step, position) of the tokens that the step's attention was computed over."""
    token_texts = json.loads(trajectory.attrs.get("pieces", "{}"))
    tokens = trajectory["token"].values
    mask = trajectory.attrs.get("mask_token_id")
    ids, where = np.unique(tokens, return_inverse=True)
    kinds = np.array(
        [TYPES.index(token_type(token_texts.get(str(int(token)), ""), bool(token == mask))) for token in ids]
    )
    found = kinds[where].reshape(tokens.shape)
    return np.where(trajectory["masked"].values, TYPES.index("mask"), found)
