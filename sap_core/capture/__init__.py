"""Attention reduced to statistics while a model runs: nothing of size length x length is ever kept."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_HOMES = {
    "AttentionRecorder": "recorder",
    "AttentionStats": "recorder",
    "record_attention": "recorder",
    "capture": "verb",
    "capture_spec": "verb",
    "attention_map": "attention_map",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Verb(ModuleType):
    """Importing this package binds its name in `sap_core`, where the verb ``sap_core.capture(...)`` should be; so the
    package can be called as the verb."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return import_module(".verb", __name__).capture(*args, **kwargs)


sys.modules[__name__].__class__ = _Verb
