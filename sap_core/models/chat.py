"""Apply a chat model's template to a prompt, as text that can be shown before it is sent. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..confined import Confined
from ..errors import InvalidInput

if TYPE_CHECKING:
    from .info import ModelInfo

SECONDS = 2.0  # of computing that a template may take
_MEMORY = 512 << 20


def chat_text(info: ModelInfo, prompt: str) -> str:
    """Return the prompt as a user's turn in the model's chat template, up to the beginning of the answer.

    Raises:
        InvalidInput: the model has no chat template, or one that can't be rendered in bounds of time and memory.
    """
    return chat_history_text(info, [{"role": "user", "content": prompt}])


def chat_history_text(info: ModelInfo, messages: Sequence[dict[str, str]], *, generation: bool = True) -> str:
    """Return several turns in the model's chat template.

    A template is a program by the model's author: it is rendered in a separate process, which can be stopped.

    Args:
        info: The model.
        messages: Turns with "role" and "content".
        generation: End with the beginning of the model's answer.

    Raises:
        InvalidInput: as `chat_text`.
    """
    if not info.chat_template:
        raise InvalidInput(f"{info.ref} has no chat template; send the prompt as it is.")
    what = f"The chat template of {info.ref}"
    process = Confined(Path(__file__).with_name("chat_script.py"), what, memory=_MEMORY)
    request = {
        "template": info.chat_template,
        "messages": list(messages),
        "generation": generation,
        "words": info.special_words,
    }
    try:
        return process.ask(request, seconds=SECONDS)["text"]
    except InvalidInput as error:
        raise InvalidInput(f"{str(error).removesuffix('.')}; send the prompt as it is.") from None
    finally:
        process.close()


def template_of(tokenizer: dict[str, Any]) -> str:
    """Return the chat template in a tokenizer's files: of several the one named "default", "" without any."""
    template = tokenizer.get("chat_template") or ""
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template", "") for entry in template if isinstance(entry, dict)}
        template = named.get("default") or next(iter(named.values()), "")
    return template if isinstance(template, str) else ""


def special_words(tokenizer: dict[str, Any]) -> dict[str, str]:
    """Return bos_token and similar tokens as text, which templates refer to."""
    tokens = {}
    for name, value in tokenizer.items():
        if name.endswith("_token"):
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                tokens[name] = text
    return tokens
