"""Results kept for as long as the model they were computed on lives and its weights stay as they are."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from typing import Any

_KEPT: weakref.WeakKeyDictionary[Any, dict[Hashable, Any]] = weakref.WeakKeyDictionary()


def memoize(module: Any, key: Hashable, make: Callable[[], Any], *, keep: int = 8) -> Any:
    """``make()``, or what it gave when it was asked for this ``key`` on the same weights of this torch ``module``.

    A change of the weights in place (torch counts them) makes the old results void. At most ``keep`` results per
    module are held, the oldest leave first.
    """
    known = _KEPT.setdefault(module, {})
    full = (key, sum(parameter._version for parameter in module.parameters()))
    if full not in known:
        result = make()
        while len(known) >= keep:
            known.pop(next(iter(known)))
        known[full] = result
    return known[full]
