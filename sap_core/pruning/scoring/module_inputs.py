"""Inputs of modules during a forward pass: of every linear layer, and of the first block."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from ...models.loaded import LoadedModel


@contextmanager
def inputs_of(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Yield a dict that keeps the input of every module, [B, S, in], for one forward pass.

    An expert's input is [B * S, in], zero for tokens that were sent to other experts.
    """
    inputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable:
        def hook(module: nn.Module, args: tuple) -> None:
            routed = getattr(module, "routed", None)
            inputs[name] = args[0].detach() if routed is None else routed.spread(args[0].detach())

        return hook

    handles = [module.register_forward_pre_hook(keep(name)) for name, module in modules.items()]
    try:
        yield inputs
    finally:
        for handle in handles:
            handle.remove()


class _Stop(Exception):
    """Ends a forward pass once everything needed has been recorded."""


def first_block_inputs(
    model: LoadedModel, batches: Iterable[Tensor]
) -> tuple[list[Tensor], dict[tuple[int, ...], list[dict[str, Any]]]]:
    """Return the first block's input per batch and, by batch shape, the other arguments of every block.

    Those (positions, attention mask) do not depend on the tokens, because no row is padded.
    """
    hidden: list[Tensor] = []
    calls: dict[tuple[int, ...], list[dict[str, Any]]] = {}
    for tokens in batches:
        known, seen = tuple(tokens.shape) in calls, []

        def look(module: nn.Module, args: tuple, kwargs: dict, known: bool = known, seen: list = seen) -> None:
            if not seen:
                hidden.append(args[0] if args else kwargs["hidden_states"])
            if known:
                raise _Stop
            names = list(inspect.signature(module.forward).parameters)[1:]
            given = {**dict(zip(names, args[1:], strict=False)), **kwargs}  # some classes pass by position
            left_out = ("hidden_states",) if model.reads_cache else ("hidden_states", "past_key_values")
            seen.append({k: v for k, v in given.items() if k not in left_out})

        handles = [block.register_forward_pre_hook(look, with_kwargs=True) for block in model.blocks]
        try:
            with torch.no_grad():
                model.logits(tokens)
        except _Stop:
            pass
        finally:
            for handle in handles:
                handle.remove()
        if not known:
            calls[tuple(tokens.shape)] = seen
    return hidden, calls


def run_block(block: nn.Module, hidden: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """Call a block and return its hidden states, whatever else the block returns with them."""
    out = block(hidden, **kwargs)
    return out[0] if isinstance(out, tuple) else out
