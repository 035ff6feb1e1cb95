"""A model's tokenizer, loaded without ever running code that comes with it, and text <-> ids."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ..errors import ModelProblem

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


def load_tokenizer(folder: Path, config: Any, *, trust_remote_code: bool = False, class_name: str = "") -> Any | None:
    """The tokenizer saved in ``folder``, or None where the folder holds none.

    Args:
        config: The native transformers config; names the tokenizer class where the folder does not.
        class_name: A transformers tokenizer class that replaces a custom one.

    Raises:
        ModelProblem: files are there that no tokenizer class can read.
    """
    import transformers

    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        return None
    loader = getattr(transformers, class_name) if class_name else transformers.AutoTokenizer
    options = {} if class_name else {"config": config, "trust_remote_code": trust_remote_code}
    try:
        return loader.from_pretrained(folder, local_files_only=True, **options)
    except Exception as error:  # any of the many errors of tokenizer backends: the fast file alone may still do
        if (folder / "tokenizer.json").is_file():
            logging.getLogger(__name__).info("falling back to tokenizer.json alone: %s", error)
            return transformers.PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        raise ModelProblem(f"The tokenizer in {folder} can't be loaded ({type(error).__name__}: {error}).") from None
