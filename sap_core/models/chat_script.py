"""Render a chat template; run by `sap_core.confined` in a separate process, by path, without the package."""

import json
from datetime import datetime
from typing import Any

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

LONGEST = 1 << 20  # characters of a rendered prompt


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return {"text": ...} for {"template", "messages", "generation", "words"}."""
    options = {"trim_blocks": True, "lstrip_blocks": True, "extensions": ["jinja2.ext.loopcontrols"]}
    environment = ImmutableSandboxedEnvironment(**options)
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    text = environment.from_string(request["template"]).render(
        messages=request["messages"], add_generation_prompt=request["generation"], **request["words"]
    )
    if len(text) > LONGEST:
        return {"error": f"it makes a prompt of {len(text)} characters; at most {LONGEST} are taken"}
    return {"text": text}


def _tojson(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> None:
    raise TemplateError(message)
