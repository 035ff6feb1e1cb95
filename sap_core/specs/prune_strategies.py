"""Choose one of the three prune specs by the fields that are given: a budget, a target, or neither."""

from __future__ import annotations

from typing import Any

from ..choices.strategies import strategy_of
from ..errors import InvalidInput
from .prune import PruneOptions, PruneSpec
from .prune_progressive import ProgressivePruneSpec
from .prune_search import SearchPruneSpec

STRATEGIES: dict[str, type[PruneOptions]] = {
    "direct": PruneSpec,
    "progressive": ProgressivePruneSpec,
    "search": SearchPruneSpec,
}
_FIELDS = {name: field for spec in reversed(STRATEGIES.values()) for name, field in spec.model_fields.items()}


def build_prune_spec(**fields: Any) -> PruneOptions:
    """Return the prune spec of the strategy that the fields belong to; None counts as not given.

    Fields of another strategy are accepted at their defaults, so that one form, one command and the documents of runs
    from before there were three specs can name all of them.

    Raises:
        InvalidInput: a field that the strategy does not have; or as the spec itself.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    strategy = given.get("strategy") or strategy_of(given)
    if strategy not in STRATEGIES:
        raise InvalidInput(f"strategy is {strategy!r}; expected one of {', '.join(STRATEGIES)}.")
    spec = STRATEGIES[strategy]
    foreign = [name for name in given if name in _FIELDS and name not in spec.model_fields]
    wrong = [name for name in foreign if given[name] != _FIELDS[name].default]
    if wrong:
        raise InvalidInput(_refusal(strategy, wrong))
    return spec.build(**{name: value for name, value in given.items() if name not in foreign})


def prune_default(name: str) -> Any:
    """Return the default of a field of any prune spec; None if it has none."""
    field = _FIELDS[name]
    return None if field.is_required() else field.default


def _refusal(strategy: str, wrong: list[str]) -> str:
    if strategy == "search":
        return f"a search (preset, target_speedup) finds what goes itself; leave out {', '.join(wrong)}, or the search."
    if "quality_drop" in wrong:
        return "quality_drop belongs to target_speedup; give that too, or budget for progressive pruning."
    if strategy == "progressive":
        return (
            "progressive pruning (budget) decides each layer's sparsity itself; it supports the patterns unstructured "
            f"and N:M with allocation uniform; leave out {', '.join(wrong)}, or the budget."
        )
    return f"{', '.join(wrong)} belongs to progressive pruning; give a budget too, or leave it out."
