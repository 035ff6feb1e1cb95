"""Results cached for as long as the model they were computed on exists and its weights are unchanged."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from typing import Any

_KEPT: weakref.WeakKeyDictionary[Any, dict[Hashable, Any]] = weakref.WeakKeyDictionary()


def memoize(module: Any, key: Hashable, make: Callable[[], Any], *, keep: int = 8) -> Any:
    """Return ``make()``, or its cached result for the same ``key`` and unchanged weights of the torch ``module``.

    A change of the weights in place (torch counts them) discards the cached results. At most ``keep`` results per
    module are held; the oldest are dropped first.
    """
    known = _KEPT.setdefault(module, {})
    full = (key, sum(parameter._version for parameter in module.parameters()))
    if full not in known:
        result = make()
        while len(known) >= keep:
            known.pop(next(iter(known)))
        known[full] = result
    return known[full]
