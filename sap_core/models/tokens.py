"""A model's tokenizer, loaded without running code that comes with it unless the user agreed to that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import ModelProblem

FAST = "tokenizer.json"
OTHERS = ("tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


def load_tokenizer(folder: Path, config: Any, *, trust_remote_code: bool = False, class_name: str = "") -> Any | None:
    """The tokenizer saved in ``folder``, or None where the folder holds none.

    A tokenizer.json is taken as it is: transformers' Auto class may rebuild it as its model's class would have it,
    which drops what the file says.

    Args:
        config: The native transformers config; names the tokenizer class where the folder does not.
        class_name: A transformers tokenizer class that stands in for a custom one without a tokenizer.json.

    Raises:
        ModelProblem: files are there that no tokenizer class can read.
    """
    import transformers

    if (folder / FAST).is_file():
        loader, options = transformers.PreTrainedTokenizerFast, {}
    elif not any((folder / name).is_file() for name in OTHERS):
        return None
    elif class_name:
        loader, options = getattr(transformers, class_name), {}
    else:
        loader, options = transformers.AutoTokenizer, {"config": config, "trust_remote_code": trust_remote_code}
    try:
        return loader.from_pretrained(folder, local_files_only=True, **options)
    except Exception as error:  # each tokenizer backend has its own kinds of complaint
        reason = " ".join(str(error).split())[:200]
        raise ModelProblem(f"The tokenizer in {folder} can't be loaded ({type(error).__name__}: {reason}).") from None
