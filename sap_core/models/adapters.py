"""Classes and functions that a family names: the adapter that wraps its module, the reader of its weights."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import nn

from ..errors import InvalidInput
from .block_causal import BlockCausalModel
from .diffusion_gemma import DiffusionGemma
from .family import Family
from .loaded import LoadedModel
from .masked_lm import MaskedLanguageModel
from .reading import read_native
from .remote import RemoteModel, read_remote

ADAPTERS: dict[str, type[LoadedModel]] = {
    "plain": LoadedModel,
    "masked_lm": MaskedLanguageModel,
    "block_causal": BlockCausalModel,
    "diffusion_gemma": DiffusionGemma,
    "remote": RemoteModel,
}
READERS: dict[str, Callable[..., nn.Module]] = {"native": read_native, "remote": read_remote}


def adapter_of(family: Family) -> type[LoadedModel]:
    """Return the `LoadedModel` class of a family: a name of `ADAPTERS`, or "module:class" of another package.

    Raises:
        InvalidInput: neither.
    """
    return _named("adapter", family.adapter, ADAPTERS)


def reader_of(family: Family) -> Callable[..., nn.Module]:
    """Return the function that reads a family's weights: a name of `READERS`, or "module:function" of another package.

    Raises:
        InvalidInput: neither.
    """
    return _named("reader", family.reader, READERS)


def _named(what: str, name: str, known: dict[str, Any]) -> Any:
    if name in known:
        return known[name]
    module, _, attribute = name.partition(":")
    if not attribute:
        raise InvalidInput(f"{what} is '{name}'; expected one of {', '.join(known)}, or 'module:name' of a package.")
    return getattr(import_module(module), attribute)
