"""A model without the weights of its blocks, which are read from disk one block at a time.

The module is the family's native class, so what a block computes, and with which masks and positions it is called, is
what the whole model computes. The embedding reads the rows it needs, the output head works on parts of its rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ModelProblem
from ...models.adapters import adapter_of
from ...models.conventions import Given
from ...models.experts import unpack_experts
from ...models.info import ModelInfo
from ...models.inspection import describe
from ...models.loaded import LoadedModel
from ...models.loading import prunable_as_loaded
from ...models.placement import (
    QUANTIZED,
    SPREAD,
    pick_device,
    placement,
)
from ...models.probe import check_numbers, check_outputs, trial
from ...models.reading import check_finite, check_shapes, empty_module, native_config_object
from ...models.source import download, find_source, read_folder
from ...models.tokens import load_tokenizer
from .stored_modules import StoredHead, StoredRows
from .tensors import StoredWeights

# Native classes whose blocks take and give one hidden state and hold no state of their own; tested one by one.
CLASSES = ("llama", "mistral", "qwen2", "qwen3", "qwen3_moe")


class StreamedModel:
    """A model whose blocks are empty until their weights are read; made by `open_streamed`.

    Attributes:
        model: A `LoadedModel` that can do all but what needs a block's weights, unless inside `block` or `on_demand`.
        weights: The checkpoint it reads.
        stored: Per block, native name inside it -> stored name.
        names: Every native name of the whole model -> the stored name that holds it; tied ones share one.
    """

    def __init__(self, model: LoadedModel, weights: StoredWeights, names: dict[str, str], dtype: torch.dtype) -> None:
        self.model, self.weights, self.names, self.dtype = model, weights, names, dtype
        self.blocks = model.blocks
        paths = {id(module): path for path, module in model.module.named_modules()}
        prefixes = [f"{paths[id(block)]}." for block in self.blocks]
        self.stored = [{k[len(p) :]: v for k, v in names.items() if k.startswith(p)} for p in prefixes]

    def load(self, layer: int) -> dict[str, Tensor]:
        """Return the weights of a block by name inside it, in the model's precision, in main memory.

        For a GPU, the memory is pinned.
        """
        found = {}
        for name, key in self.stored[layer].items():
            value = _as(self.weights.read(key), self.dtype)
            check_finite(self.model.info, key, value)
            found[name] = value.pin_memory() if self.model.device.type == "cuda" else value
        return found

    @contextmanager
    def block(self, layer: int, state: dict[str, Tensor]) -> Iterator[nn.Module]:
        """Yield the block with its weights while the context lasts.

        ``state``: the weights as `load` returns them; the dict is emptied.
        """
        block = self.blocks[layer]
        self._fill(block, state)
        try:
            yield block
        finally:
            block.to("meta")

    @contextmanager
    def on_demand(self) -> Iterator[LoadedModel]:
        """Yield the whole model: every block reads its weights when it runs and drops them after. Slow, and small."""
        hooks = []
        for layer, block in enumerate(self.blocks):

            def fill(module: nn.Module, args: tuple, layer: int = layer) -> None:
                self._fill(module, self.load(layer))

            hooks.append(block.register_forward_pre_hook(fill))
            hooks.append(block.register_forward_hook(lambda module, args, output: module.to("meta") and None))
        try:
            yield self.model
        finally:
            for hook in hooks:
                hook.remove()

    def check(self) -> None:
        """Check every weight and the model's conventions, as loading in memory does, in one pass over the files.

        Raises:
            ModelProblem: a weight or the output is not finite, or attention does not follow the conventions.
        """
        inside = {key for block in self.stored for key in block.values()}
        for key in dict.fromkeys(self.names.values()):
            for chunk in self.weights.pieces(key) if key not in inside else ():
                check_finite(self.model.info, key, chunk)
        with self.on_demand() as model:
            check_outputs(model)

    def calls(self, tokens: Tensor) -> tuple[Tensor, list[dict[str, Any]]]:
        """Return (the first block's input [B, S, width], the other arguments of every block) for ``tokens`` [B, S].

        As in `sap_core.pruning.scoring.statistics`: no row is padded, so the arguments depend on the shape alone.
        """
        first: list[Tensor] = []
        seen: list[dict[str, Any]] = []

        def stand_in(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            first.append(hidden_states)
            seen.append({name: value for name, value in kwargs.items() if name != "past_key_values"})
            if len(seen) == len(self.blocks):
                raise _Enough
            return hidden_states

        for block in self.blocks:
            block.forward = stand_in
        try:
            self.model.logits(tokens)
        except _Enough:
            pass
        finally:
            for block in self.blocks:
                del block.forward
        return first[0], seen

    def _fill(self, block: nn.Module, state: dict[str, Tensor]) -> None:
        device = self.model.device
        placed = {name: state.pop(name).to(device, non_blocking=True) for name in list(state)}
        block.load_state_dict(placed, assign=True)


class _Enough(Exception):
    """Ends a forward pass whose rest is not needed."""


def open_streamed(
    ref: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
    mask_token_id: int | None = None,
    causal: bool | None = None,
    shift_logits: bool | None = None,
    block_size: int | None = None,
    adapter: str | None = None,
) -> StreamedModel:
    """Open the model ``ref`` names, as `sap_core.models.load_model` but without its blocks.

    Raises:
        ModelProblem: as `load_model`; a class that can't be read block by block.
    """
    if device == SPREAD:
        raise ModelProblem("A streamed model has one block on one device; give device auto, cpu, cuda or mps.")
    if adapter is not None:
        raise ModelProblem(
            f"adapter {adapter} can't be merged block by block; export the merged model first (`sap prune` without "
            "--streamed, or load_model and export_checkpoint), and prune that folder."
        )
    target = pick_device(device)
    source = find_source(ref)
    info = describe(source, mask_token_id=mask_token_id, given=Given(causal, shift_logits, block_size))
    check_streamable(info)
    if dtype in QUANTIZED:
        raise ModelProblem(f"dtype {dtype} can't be pruned; give auto, float32, bfloat16 or float16.")
    kind = placement(dtype, info, target)["dtype"]
    if info.path is None:
        source = read_folder(ref, download(ref))
        info = describe(source, mask_token_id=mask_token_id, given=Given(causal, shift_logits, block_size))
    weights = StoredWeights(info.folder)
    config = native_config_object(info)
    check_shapes(source, info, config)
    module = empty_module(info, config)
    unpack_experts(module, info.matrices)
    info = prunable_as_loaded(module, info)
    names = _stored_names(module, info, config)
    _materialize(module, info, weights, names, kind, target)
    tokenizer = load_tokenizer(info.folder, module.config, class_name=info.row.tokenizer)
    model = adapter_of(info.row)(module, tokenizer, info)
    streamed = StreamedModel(model, weights, names, kind)
    with trial(info):
        first, arguments = streamed.calls(torch.zeros(1, 2, dtype=torch.long))
        with streamed.block(0, streamed.load(0)) as block:
            output = block(first, **arguments[0])
        check_numbers(info, output if isinstance(output, Tensor) else output[0])
    return streamed


def check_streamable(info: ModelInfo) -> None:
    """Raise ModelProblem, with the reason, for a model that can't be pruned, or not block by block from disk."""
    info.check_prunable()
    kind = info.native_config.get("model_type")
    if kind not in CLASSES or info.row.remote_code:
        raise ModelProblem(
            f"{info.ref} ({kind}) can't be read block by block; that works for models that load as "
            f"{', '.join(CLASSES)} (LLaDA, Dream, SDAR, A2D among them). Prune it in memory instead."
        )
    if info.config.get("per_layer_config"):
        raise ModelProblem(
            f"{info.ref} has layers of different widths and can't be read block by block; prune it in memory."
        )


def _stored_names(module: Any, info: ModelInfo, config: Any) -> dict[str, str]:
    """Return native name -> stored name of every tensor of the module; a tied head is stored as the embedding."""
    names = {native: stored for stored, native in info.keys.items()}
    if getattr(config, "tie_word_embeddings", False):
        paths = {id(part): path for path, part in module.named_modules()}
        head, rows = (paths[id(part)] for part in (module.get_output_embeddings(), module.get_input_embeddings()))
        if f"{rows}.weight" in names:
            names[f"{head}.weight"] = names[f"{rows}.weight"]
    missing = [name for name in module.state_dict() if name not in names]
    if missing:
        raise ModelProblem(
            f"{info.ref} lacks {len(missing)} tensors its config calls for, first {missing[0]}; download it again."
        )
    return {name: names[name] for name in module.state_dict()}


def _materialize(
    module: Any,
    info: ModelInfo,
    weights: StoredWeights,
    names: dict[str, str],
    dtype: torch.dtype,
    device: torch.device,
) -> None:
    """Fill everything outside the blocks in place, and set the precision of the empty blocks."""
    paths = {id(part): path for path, part in module.named_modules()}
    rows, head = module.get_input_embeddings(), module.get_output_embeddings()
    if type(rows) is not nn.Embedding or type(head) is not nn.Linear or head.bias is not None:
        raise ModelProblem(f"{info.ref} has an embedding or a head of its own kind; prune it in memory instead.")
    first, last = (names[f"{paths[id(part)]}.weight"] for part in (rows, head))
    module.set_input_embeddings(StoredRows(weights, first, dtype, device))
    module.set_output_embeddings(StoredHead(weights, last))
    for parameter in module.parameters():
        parameter.data = parameter.data.to(dtype)
    _fill_buffers(module, info, device)
    prefixes = tuple({f"{m.name.partition(f'.{m.layer}.')[0]}.{m.layer}." for m in info.matrices})
    around = [name for name in module.state_dict() if not name.startswith(prefixes)]
    state = {name: _as(weights.read(names[name]), dtype).to(device) for name in around}
    module.load_state_dict(state, strict=False, assign=True)


def _as(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value


def _fill_buffers(module: Any, info: ModelInfo, device: torch.device) -> None:
    """Fill buffers that are not stored (rotary frequencies) as the class itself initialises them."""
    for path, part in module.named_modules():
        empty = [name for name, value in part.named_buffers(recurse=False) if value.is_meta]
        for name in empty:
            part.register_buffer(
                name, torch.full_like(part.get_buffer(name), torch.nan, device="cpu"), persistent=False
            )
        if empty:
            module._init_weights(part)
        for name in empty:
            if part.get_buffer(name).isnan().any():
                raise ModelProblem(f"{info.ref} keeps {path}.{name} outside its files; prune it in memory instead.")
            part.register_buffer(name, part.get_buffer(name).to(device), persistent=False)
