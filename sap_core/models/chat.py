"""A chat model's template around a prompt, as text: the same string is shown before it is sent and sent. No torch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput

if TYPE_CHECKING:
    from .info import ModelInfo


def chat_text(info: ModelInfo, prompt: str) -> str:
    """The prompt as a user's turn in the model's chat template, up to where its answer begins.

    Raises:
        InvalidInput: the model has no chat template, or one that can't be rendered.
    """
    if not info.chat_template:
        raise InvalidInput(f"{info.ref} has no chat template; send the prompt as it is.")
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    options = {"trim_blocks": True, "lstrip_blocks": True, "extensions": ["jinja2.ext.loopcontrols"]}
    environment = ImmutableSandboxedEnvironment(**options)
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _today
    try:
        return environment.from_string(info.chat_template).render(
            messages=[{"role": "user", "content": prompt}], add_generation_prompt=True, **info.special_words
        )
    except TemplateError as error:
        reason = f"The chat template of {info.ref} can't be rendered ({error})"
        raise InvalidInput(f"{reason}; send the prompt as it is.") from None


def template_of(tokenizer: dict[str, Any]) -> str:
    """The chat template in a tokenizer's files: of several the one named "default", "" where there is none."""
    template = tokenizer.get("chat_template") or ""
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template", "") for entry in template if isinstance(entry, dict)}
        template = named.get("default") or next(iter(named.values()), "")
    return template if isinstance(template, str) else ""


def special_words(tokenizer: dict[str, Any]) -> dict[str, str]:
    """bos_token and its like as text, which templates refer to."""
    words = {}
    for name, value in tokenizer.items():
        if name.endswith("_token"):
            text = value.get("content") if isinstance(value, dict) else value
            if isinstance(text, str):
                words[name] = text
    return words


def _tojson(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> None:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _today(pattern: str) -> str:
    from datetime import datetime

    return datetime.now().strftime(pattern)
