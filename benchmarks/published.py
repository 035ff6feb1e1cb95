"""The published algorithms as plain loops: the yardstick of `pruning.py`, not used by the engine.

Written down from the papers' formulas and the settings of their public code, in the order in which that code works:
one text at a time, one noise level at a time, one group of columns at a time. arXiv 2602.17664 (sink-aware) and
arXiv 2306.11695 (Wanda, N:M masks). ``model`` is a LoadedModel; masks are True where a weight goes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEVELS, STEPS, FLOOR = range(5, 51, 5), 50, 1e-3
ALPHA, K = 5.0, 2.0


def sink_norms(model, texts: Tensor, seed: int) -> dict[str, Tensor]:
    """Column norms of every linear layer's inputs, sinks down-weighted; two forward passes per text and noise level.

    The first pass keeps all attention maps (eager attention) and finds the sinks in them; the second runs without
    them, and a hook on each linear layer adds the norm of its weighted inputs.
    """
    linears = _linears(model)
    norms = {name: torch.zeros(layer.in_features) for name, layer in linears.items()}
    keep = 1.0

    def add(name: str):
        def hook(_module: nn.Module, inputs: tuple, _output: Tensor) -> None:
            rows = inputs[0][0] * keep
            norms[name] += torch.norm(rows, p=2, dim=0)

        return hook

    torch.manual_seed(seed)
    usual = model.module.config._attn_implementation
    with torch.no_grad():
        for text in texts:
            for level in LEVELS:
                t = level / STEPS
                gone = torch.rand(1, len(text)) < (1 - FLOOR) * t + FLOOR
                noised = torch.where(gone, model.info.mask_token_id, text[None])
                model.module.set_attn_implementation("eager")
                maps = model.module(input_ids=noised, output_attentions=True, use_cache=False).attentions
                keep = 1 - _phi(maps)[0][:, None]
                model.module.set_attn_implementation(usual)
                hooks = [layer.register_forward_hook(add(name)) for name, layer in linears.items()]
                model.module(input_ids=noised, use_cache=False)
                for hook in hooks:
                    hook.remove()
    return norms


def wanda_masks(model, texts: Tensor, n: int, m: int) -> dict[str, Tensor]:
    """Wanda's N:M masks: block by block, text by text; prunes ``model`` in place, for later blocks see the result."""
    masks: dict[str, Tensor] = {}
    with torch.no_grad():
        hidden, arguments = _inputs_of_first_block(model, texts)
        for layer, block in enumerate(model.blocks):
            linears = model.linears(layer)
            squares = {name: torch.zeros(linear.in_features) for name, linear in linears.items()}
            seen = dict.fromkeys(linears, 0)

            def add(name: str, squares=squares, seen=seen):
                def hook(_module: nn.Module, inputs: tuple, _output: Tensor) -> None:
                    columns = inputs[0][0].t()
                    squares[name] *= seen[name] / (seen[name] + 1)
                    seen[name] += 1
                    squares[name] += torch.norm(columns, p=2, dim=1) ** 2 / seen[name]

                return hook

            handles = [linear.register_forward_hook(add(name)) for name, linear in linears.items()]
            for x in hidden:
                _run(block, x, arguments[layer])
            for handle in handles:
                handle.remove()
            for name, linear in linears.items():
                masks[name] = nm_mask(linear.weight.abs() * torch.sqrt(squares[name])[None], n, m)
                linear.weight[masks[name]] = 0
            for i, x in enumerate(hidden):
                hidden[i] = _run(block, x, arguments[layer])
    return masks


def magnitude_masks(model, n: int, m: int) -> dict[str, Tensor]:
    """N:M masks by the size of the weights alone."""
    return {name: nm_mask(linear.weight.abs(), n, m) for name, linear in _linears(model).items()}


def row_masks(model, norms: dict[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """abs(W) * norm, the lowest int(columns * sparsity) of every row, layer by layer."""
    masks = {}
    for name, linear in _linears(model).items():
        metric = linear.weight.abs() * norms[name][None]
        order = torch.sort(metric, dim=-1, stable=True)[1]
        masks[name] = torch.zeros_like(metric, dtype=torch.bool)
        masks[name].scatter_(1, order[:, : int(metric.shape[1] * sparsity)], True)
    return masks


def nm_mask(metric: Tensor, n: int, m: int) -> Tensor:
    """The ``n`` lowest of every ``m`` columns, one group of columns after the other."""
    mask = torch.zeros_like(metric, dtype=torch.bool)
    for column in range(metric.shape[1]):
        if column % m == 0:
            group = metric[:, column : column + m].float()
            mask.scatter_(1, column + torch.topk(group, n, dim=1, largest=False)[1], True)
    return mask


def _phi(maps: tuple[Tensor, ...]) -> Tensor:
    """[1, S]: how much of a sink each position is, from the attention maps [1, H, S, S] of all layers."""
    mass = sum(layer.sum(dim=(1, 2)) for layer in maps)
    spread = mass.std(dim=-1, keepdim=True, unbiased=False)
    return torch.sigmoid(ALPHA * (mass - (mass.mean(dim=-1, keepdim=True) + K * spread)))


def _linears(model) -> dict[str, nn.Linear]:
    return {name: linear for layer in range(len(model.blocks)) for name, linear in model.linears(layer).items()}


def _run(block: nn.Module, x: Tensor, arguments: dict) -> Tensor:
    output = block(x, **arguments)
    return output[0] if isinstance(output, tuple) else output


def _inputs_of_first_block(model, texts: Tensor) -> tuple[list[Tensor], list[dict]]:
    """What enters the first block, text by text, and the other arguments of every block (positions, mask)."""
    hidden: list[Tensor] = []
    arguments: list[dict] = []

    def first(_module: nn.Module, args: tuple, kwargs: dict) -> None:
        hidden.append(args[0] if args else kwargs["hidden_states"])

    def any_block(_module: nn.Module, _args: tuple, kwargs: dict) -> None:
        if len(arguments) < len(model.blocks):
            arguments.append({k: v for k, v in kwargs.items() if k not in ("hidden_states", "past_key_values")})

    hooks = [block.register_forward_pre_hook(any_block, with_kwargs=True) for block in model.blocks]
    hooks.append(model.blocks[0].register_forward_pre_hook(first, with_kwargs=True))
    for text in texts:
        model.module(input_ids=text[None], use_cache=False)
    for hook in hooks:
        hook.remove()
    return hidden, arguments
