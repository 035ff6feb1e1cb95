"""Find the attention layers of a model by running it once on a few tokens, and check them against eager attention.

Architectures differ in the names of their modules, in which layers attend at all, and in whether they call
transformers' attention interface or compute their own softmax. None of that is looked up: every attention call of one
small forward pass is recorded with the block that runs at the time, and numbered as the model numbers its layers.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..errors import OperationFailed

LENGTH = 8
# Largest difference from eager attention, as a share of attention: rounding of the dtype, many times over.
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.05}
INTERFACE, FUNCTIONAL = "interface", "functional"
_WITHOUT_MAP = re.compile("Linear|Lightning|Delta|Recurrent|Mamba|Retention|Norm")  # attention without a softmax
_PLANS: WeakKeyDictionary[nn.Module, RecordingPlan] = WeakKeyDictionary()


@dataclass(frozen=True)
class RecordingPlan:
    """How a model's attention is recorded.

    Attributes:
        route: "interface", transformers' attention interface, or "functional", the calls of torch's
            scaled_dot_product_attention and softmax.
        layers: Numbers of the layers that attend, as the model numbers them.
        heads: Query heads of each layer.
        numbers: Path of the block that runs -> its layer; empty where one block runs as every layer, in order.
    """

    route: str
    layers: tuple[int, ...]
    heads: int
    numbers: dict[str, int]


@dataclass(frozen=True)
class Call:
    """One attention call of the trial: the block's path and what each position receives, (heads, S)."""

    path: str
    received: Tensor


# (route) -> the calls of one forward pass of the trial's tokens.
Trial = Callable[[str], list[Call]]


def plan_of(model: Any, module: nn.Module, trial: Trial) -> RecordingPlan:
    """Return how ``model`` is recorded; found by a trial and cached while the module lives.

    Raises:
        OperationFailed: its attention can't be observed, does not sum to 1, or differs from what eager attention
            returns.
    """
    plan = _PLANS.get(module)
    if plan is None:
        plan = _PLANS[module] = _find(model, module, trial)
    return plan


def _find(model: Any, module: nn.Module, trial: Trial) -> RecordingPlan:
    preferred = getattr(model, "records_through", INTERFACE)
    calls: list[Call] = []
    route = preferred
    for route in dict.fromkeys((preferred, FUNCTIONAL)):
        calls = trial(route)
        if calls:
            break
    name = type(module).__name__
    if not calls:
        raise OperationFailed(
            f"{name} computes no map of attention that can be seen (queries by keys, a softmax of each row): its "
            "layers have none, or attend in chunks or by another kernel. Its attention can't be recorded."
        )
    layers, numbers = number_layers([call.path for call in calls], _layer_count(model, module), name)
    heads = sorted({call.received.shape[0] for call in calls})
    if len(heads) > 1:
        raise OperationFailed(
            f"Layers have different numbers of heads ({heads[0]} to {heads[-1]}), so there is no grid of layers "
            "and heads to record; record the model from before its heads were taken out."
        )
    _check_complete(getattr(model, "observed_module", module), numbers, name)
    _check_shares(calls, name)
    if not getattr(getattr(getattr(model, "info", None), "row", None), "remote_code", False):
        _check_eager(model, module, calls)
    return RecordingPlan(route, layers, heads[0], numbers)


def number_layers(paths: list[str], count: int | None, name: str) -> tuple[tuple[int, ...], dict[str, int]]:
    """Return the layers of attention calls, and the layer of each block's path.

    A path has one or several numbers ("model.layers.3", "encoder.groups.0.layers.1"); the first at which they all
    differ is that of the layers. If one block runs as every layer, calls are numbered in their order.

    Args:
        paths: Of the blocks, in the order of the calls.
        count: The model's layers, None where unknown.
        name: The model's class, for an error.

    Raises:
        OperationFailed: blocks that attend more than once a pass, and not once for each layer.
    """
    result = [[int(number) for number in re.findall(r"(?:^|\.)(\d+)(?=\.|$)", path)] for path in paths]
    for index in range(min(map(len, result))):
        numbers = [each[index] for each in result]
        if len(set(numbers)) == len(numbers):
            order = sorted(numbers)
            return tuple(order), dict(zip(paths, numbers, strict=True))
    if count == len(paths):
        return tuple(range(len(paths))), {}
    twice = next(path for path in paths if paths.count(path) > 1) if len(set(paths)) < len(paths) else paths[0]
    raise OperationFailed(
        f"{name} computes {len(paths)} attention maps in one pass ({twice or 'one block'} {paths.count(twice)} times), "
        f"not one for each of its {count} layers; such attention can't be recorded."
    )


def _check_complete(module: nn.Module, numbers: dict[str, int], name: str) -> None:
    """Raise OperationFailed if a block with softmax attention did not report: it computes it in an unobserved way."""
    if not numbers:
        return
    for path, part in module.named_modules():
        kind = type(part).__name__
        block = re.match(r"(?:.*\.)?\d+(?=\.|$)", path)
        if "Attention" in kind and not _WITHOUT_MAP.search(kind) and block and block[0] not in numbers:
            raise OperationFailed(
                f"{path} of {name} ({kind}) computes attention in a way that can't be seen, while {len(numbers)} other "
                "layers can; such a model can't be recorded."
            )


def _layer_count(model: Any, module: nn.Module) -> int | None:
    info = getattr(model, "info", None)
    if info is not None:
        return info.layers
    return getattr(getattr(module, "config", None), "num_hidden_layers", None)


def _check_shares(calls: list[Call], name: str) -> None:
    """Raise OperationFailed unless what all positions receive sums to one, as every row of a map does."""
    for call in calls:
        total = call.received.double().sum(-1)
        if not bool(torch.isfinite(total).all()):
            raise OperationFailed(
                f"The attention of {name} is not finite in block {call.path}: its weights hold NaN or infinity, or its "
                "numbers leave the range of the precision; try another dtype."
            )
        if float((total - 1).abs().max()) > 0.02:
            raise OperationFailed(
                f"In block {call.path} of {name} the shares of attention sum to {float(total.mean()):.2f}, not 1: part "
                "of it goes to no token. Such attention can't be recorded."
            )


def _check_eager(model: Any, module: nn.Module, calls: list[Call]) -> None:
    """Compare with the maps that the class itself returns, if it does."""
    maps = eager_maps(model, module)
    if maps is None or len(maps) != len(calls):
        return
    limit = TOLERANCE.get(next(module.parameters()).dtype, 0.05)
    for call, whole in zip(calls, maps, strict=True):
        expected = whole[0].double().mean(-2).cpu()
        if expected.shape != call.received.shape:
            return
        apart = float((expected - call.received.double().cpu()).abs().max())
        if not apart <= limit:
            raise OperationFailed(
                f"What is recorded of block {call.path} of {type(module).__name__} differs from its own eager "
                f"attention by {apart:.2f} of a share; it would be wrong, so it is refused."
            )


def eager_maps(model: Any, module: nn.Module) -> list[Tensor] | None:
    """Return the attention maps (batch, heads, S, S) of the trial's tokens as the class returns them.

    None if it returns none of this shape.
    """
    base = getattr(getattr(module, "config", None), "_attn_implementation", None)
    if base is None:
        return None
    result: list[Tensor] = []
    switched: Any = module  # a transformers model, whose attention can be switched

    def keep(_: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        return args, {**kwargs, "output_attentions": True}

    def take(_: nn.Module, args: Any, output: Any) -> None:
        maps = getattr(output, "attentions", None) or getattr(output, "decoder_attentions", None) or ()
        result.extend(each for each in maps if isinstance(each, Tensor))

    watched = getattr(model, "observed_module", module)
    hooks = [watched.register_forward_pre_hook(keep, with_kwargs=True), watched.register_forward_hook(take)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            switched.set_attn_implementation("eager")
            switched.config._attn_implementation = "eager"  # read by classes that can't be switched
            run_trial(model, module)
    except Exception:  # a class that can't: nothing to compare with
        return None
    finally:
        for hook in hooks:
            hook.remove()
        switched.set_attn_implementation(base)
        switched.config._attn_implementation = base
    square = [each for each in result if each.ndim == 4 and each.shape[-1] == each.shape[-2]]
    return square if square and len(square) == len(result) else None


@torch.no_grad()
def run_trial(model: Any, module: nn.Module) -> None:
    """Run the model on a few ordinary tokens."""
    info = getattr(model, "info", None)
    sizes = [part.num_embeddings for part in module.modules() if isinstance(part, nn.Embedding)][:1]
    size = min([*sizes, getattr(info, "vocab_size", None) or sizes[0]])
    length = max(LENGTH, getattr(info, "block_size", None) or 0)
    length = min(length, getattr(info, "max_length", None) or length)
    mask = getattr(info, "mask_token_id", None)
    tokens = [(11 + 29 * i) % size for i in range(length)]
    tokens = [token if token != mask else (token + 1) % size for token in tokens]
    devices = (weight.device for weight in module.parameters() if weight.device.type != "meta")
    ids = torch.tensor([tokens], device=next(devices, torch.device("cpu")))
    if hasattr(model, "logits"):
        model.logits(ids)
    else:
        module(ids)
