"""What is done where no method is named: the combination that measured best (`benchmarks/curves.py --best`; README).

The doors fill it in before there is a spec, because a spec says what was done and the choice depends on the model.
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
    """Fields of `PruneSpec`: method, and where they measured best allocation and compensate.

    ``strategy``: as `sap_core.choices.strategies.strategy_of`; a budget or a search decides itself how much goes where.
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
    """Return the function that makes a prune spec of fields for ``model``: `build_prune_spec`, with the best recipe in
    the place of what the fields leave out; as they are where they name a method.

    Raises (the function):
        InvalidInput: no model of that name; no such pattern; fields that do not fit.
    """
    info = None if model is None or isinstance(model, str) else model.info

    def build(**fields: Any) -> PruneOptions:
        return build_prune_spec(**with_method(fields, info))

    return build


def with_method(fields: dict[str, Any], info: ModelInfo | None = None) -> dict[str, Any]:
    """Return the fields that were given, with the best recipe in the place of what they leave out.

    ``info``: of the model, read from its headers where it is not given and no method is named.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    if "method" in given:
        return given
    if info is None:
        from ...models.inspection import inspect_model

        info = inspect_model(given["model"], **{name: given.get(name) for name in CONVENTIONS})
    return best_recipe(info, given.get("pattern", "unstructured"), strategy_of(given)) | given
