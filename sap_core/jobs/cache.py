"""The models a worker keeps in memory: a few, within a fraction of the memory, and never an outdated one."""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from ..specs import CONVENTIONS

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel
    from ..pruning.strategies.report import Pruned

KEPT = 4  # models at once, pruned ones among them
SHARE = 0.5  # of the machine's memory


class ModelCache:
    """Models by everything that decides their content; the least recently used are dropped first."""

    def __init__(self, budget: int | None = None) -> None:
        self.budget = budget if budget is not None else int(SHARE * psutil.virtual_memory().total)
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def get(self, model: str, **loading: Any) -> LoadedModel:
        """Return the model of that name from the cache, or load it.

        Raises:
            ModelProblem: as `load_model`.
        """
        from ..models.inspection import inspect_model
        from ..models.loading import load_model

        loading = {"keep": None} | loading  # named by all alike, for all share what is warm
        info = inspect_model(model, **{name: loading.get(name) for name in CONVENTIONS})
        key = ("dense", model, *loading.items(), _stamp(info.path), _stamp(loading.get("adapter")))
        result = self._take(key)
        if result is None:
            self._make_room(info.bytes)
            result = load_model(model, **loading)
            self._keep(key, result, info.bytes)
        return result

    @property
    def held(self) -> int:
        """Bytes of the cached models."""
        return sum(size for _, size in self._kept.values())

    def keep_pruned(self, run: Path, pruned: Pruned) -> None:
        """Keep the result of a prune run, so that its export need not prune again."""
        self._make_room(pruned.model.info.bytes)
        self._keep(("pruned", str(run)), pruned, pruned.model.info.bytes)

    def pruned(self, run: Path) -> Pruned | None:
        """Return the result of a prune run if it is still cached."""
        return self._take(("pruned", str(run)))

    def clear(self) -> None:
        """Drop everything; called after a lack of memory."""
        self._kept.clear()
        gc.collect()

    def _take(self, key: Hashable) -> Any:
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def _keep(self, key: Hashable, value: Any, size: int) -> None:
        self._kept[key] = (value, size)

    def _make_room(self, size: int) -> None:
        """Drop models before one of ``size`` bytes is loaded, so that old and new are not held together needlessly."""
        dropped = False
        while self._kept and (len(self._kept) >= KEPT or self.held + size > self.budget):
            self._kept.popitem(last=False)
            dropped = True
        if dropped:
            gc.collect()


def _stamp(folder: str | None) -> tuple:
    """Return a value that changes when a local model folder, or that of an adapter, does."""
    if folder is None or not Path(folder).is_dir():
        return ()
    files = (path for path in Path(folder).iterdir() if path.suffix in (".safetensors", ".json") and path.is_file())
    return tuple(sorted((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files))
