"""A model's tokenizer: loaded without running the model's code, used so that it can be stopped.

The rules of a tokenizer.json can take exponential time (a regular expression), grow a text without end (a replacement),
or end the process from inside the library. Such a tokenizer runs in a separate process; one made of steps whose time
and size are linear runs in this process.
"""

from __future__ import annotations

import json
import weakref
from pathlib import Path
from typing import Any

from ..confined import Confined
from ..errors import ModelProblem
from ..untrusted import foreign, is_file

FAST = "tokenizer.json"
OTHERS = ("tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
# Steps of a tokenizer.json that are linear in the text whatever the file says.
LINEAR = {
    "BPE", "WordLevel", "WordPiece", "Unigram",
    "Sequence", "Whitespace", "WhitespaceSplit", "ByteLevel", "Metaspace", "BertPreTokenizer", "BertNormalizer",
    "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "StripAccents", "Strip", "Digits", "Punctuation", "UnicodeScripts",
    "TemplateProcessing", "BertProcessing", "RobertaProcessing", "Fuse", "ByteFallback", "CTC", "BPEDecoder",
}  # fmt: skip
SECONDS = 5.0  # of computing for a text, and one more for every so many characters
CHARACTERS_A_SECOND = 50_000

_confined: weakref.WeakKeyDictionary[Any, Confined] = weakref.WeakKeyDictionary()


def load_tokenizer(folder: Path, config: Any, *, trust_remote_code: bool = False, class_name: str = "") -> Any | None:
    """Return the tokenizer saved in ``folder``, or None if the folder has none.

    A tokenizer.json is used as it is: transformers' Auto class may rebuild it for its model's class, which drops
    settings of the file.

    Args:
        folder: The model's folder.
        config: The native transformers config; names the tokenizer class if the folder does not.
        trust_remote_code: Whether the user agreed to run the model's own code.
        class_name: A transformers tokenizer class that replaces a custom one without a tokenizer.json.

    Raises:
        ModelProblem: files are there that no tokenizer class can read.
    """
    import transformers

    options: dict[str, Any] = {"trust_remote_code": False}
    if is_file(folder / FAST):
        loader = transformers.PreTrainedTokenizerFast
    elif not any(is_file(folder / name) for name in OTHERS):
        return None
    elif class_name:
        loader = getattr(transformers, class_name)
    else:
        loader, options = transformers.AutoTokenizer, {"config": config, "trust_remote_code": trust_remote_code}
    with foreign(f"The tokenizer in {folder} can't be loaded", problem=ModelProblem):
        tokenizer = loader.from_pretrained(folder, local_files_only=True, **options)
        backend = getattr(tokenizer, "backend_tokenizer", None)
        text = backend.to_str() if backend is not None else ""
        if text and not _linear(text):
            script, what = Path(__file__).with_name("tokenizer_script.py"), f"The tokenizer in {folder}"
            _confined[tokenizer] = Confined(script, what, setup={"tokenizer": text})
    return tokenizer


def encode(tokenizer: Any, text: str, *, special: bool) -> list[int]:
    """Return the token ids of a text; ``special``: with the special tokens that the tokenizer adds.

    Raises:
        InvalidInput: the tokenizer fails on it, or takes more time or memory than a text of its length may.
    """
    return _encoding(tokenizer, text, special)[0]


def encode_marked(tokenizer: Any, text: str) -> tuple[list[int], list[bool]]:
    """Return (ids, which of them the tokenizer added around the text).

    Raises:
        InvalidInput: as `encode`.
    """
    ids, added = _encoding(tokenizer, text, True)
    return ids, [bool(flag) for flag in added]


def _encoding(tokenizer: Any, text: str, special: bool) -> tuple[list[int], list[int]]:
    confined = _confined.get(tokenizer)
    if confined is not None:
        seconds = SECONDS + len(text) / CHARACTERS_A_SECOND
        found = confined.ask({"text": text, "special": special}, seconds=seconds)
        return found["ids"], found["added"]
    with foreign("The tokenizer fails on a text", "; check its files"):
        found = tokenizer(text, add_special_tokens=special, return_special_tokens_mask=True)
        return list(found["input_ids"]), list(found["special_tokens_mask"])


def _linear(text: str) -> bool:
    """Return whether every step of a tokenizer.json is one of `LINEAR`."""
    document = json.loads(text)
    waiting = [document.get(name) for name in ("normalizer", "pre_tokenizer", "model", "post_processor", "decoder")]
    while waiting:
        step = waiting.pop()
        if isinstance(step, dict):
            if "type" in step and step["type"] not in LINEAR:
                return False
            waiting += [value for name, value in step.items() if name in _INNER]
        elif isinstance(step, list):
            waiting += step
    return True


_INNER = ("normalizers", "pretokenizers", "processors", "decoders")
