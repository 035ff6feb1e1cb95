"""Defaults where no method is named: the combination that measured best (`benchmarks/curves.py --best`; README).

They are filled in before there is a spec, because a spec records what was done and the choice depends on the model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...choices.patterns import parse_pattern
from ...choices.strategies import strategy_of
from ...models.family import MASKED_DIFFUSION
from ...specs import CONVENTIONS, PruneOptions, build_prune_spec

if TYPE_CHECKING:
    from ...models.info import ModelInfo
    from ...models.loaded import LoadedModel


def best_recipe(info: ModelInfo, pattern: str, strategy: str = "direct") -> dict[str, Any]:
    """Return the fields of `PruneSpec` that measured best: the method, and for some patterns allocation and compensate.

    ``strategy``: as `sap_core.choices.strategies.strategy_of`; a budget or a search allocates by itself.
    """
    masked = info.objective == MASKED_DIFFUSION
    parsed = parse_pattern(pattern)
    if strategy == "search" or parsed.unit:
        units = {"method": "sink" if masked else "wanda"}
        moved = strategy == "direct" and parsed.unit in ("heads", "channels")
        return units | {"compensate": "weights"} if moved else units
    method = {"method": "noised_sparsegpt" if masked else "sparsegpt"}
    return method | {"allocation": "owl"} if strategy == "direct" and not parsed.structured else method


def prune_spec_of(model: LoadedModel | str | None = None) -> Callable[..., PruneOptions]:
    """Return a function that builds a prune spec for ``model`` from fields.

    It is `build_prune_spec` with the best recipe for fields that are not given; if a method is named, the fields are
    used as they are. The function raises InvalidInput: no model of that name, no such pattern, fields that do not fit.
    """
    info = None if model is None or isinstance(model, str) else model.info

    def build(**fields: Any) -> PruneOptions:
        return build_prune_spec(**with_method(fields, info))

    return build


def with_method(fields: dict[str, Any], info: ModelInfo | None = None) -> dict[str, Any]:
    """Return the given fields, completed by the best recipe where they name no method.

    ``info``: of the model; read from its headers if it is None and no method is named.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    if "method" in given:
        return given
    if info is None:
        from ...models.inspection import inspect_model

        info = inspect_model(given["model"], **{name: given.get(name) for name in CONVENTIONS})
    return best_recipe(info, given.get("pattern", "unstructured"), strategy_of(given)) | given
