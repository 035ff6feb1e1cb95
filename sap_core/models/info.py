"""What is known of a model from its config.json and tensor headers, before any weight is read. No torch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ..errors import ModelProblem
from .chat import special_words, template_of
from .family import (
    AUTOREGRESSIVE,
    MASKED_DIFFUSION,
    RESIZABLE,
    Config,
    Family,
)
from .family_registry import FAMILIES, recognise
from .headers import StoredTensor
from .layout import Matrix, find_matrices, module_key
from .source import Source, find_source

# One quantity, the names configs give it; the first that is there counts.
FIELDS = {
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "heads": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads"),
    "head_dim": ("head_dim",),
    "hidden": ("hidden_size", "n_embd", "dim", "d_model"),
    "ffn": ("moe_intermediate_size", "intermediate_size", "n_inner", "ffn_dim", "hidden_dim", "ffn_hidden_size"),
    "vocab_size": ("vocab_size",),
    "max_length": ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"),
}
NEEDED = ("layers", "heads", "hidden", "vocab_size")
ROBERTAS = ("roberta", "xlm-roberta", "camembert")


@dataclass(frozen=True)
class ModelInfo:
    """A model as its config and headers describe it.

    ``matrices`` are the prunable linear layers inside the blocks, in block order, under native module names.
    ``max_length`` is None where the config sets no limit; ``mask_token_id`` where nothing declares one.
    ``shift_logits``: the model denoises, yet its row i predicts token i + 1.
    ``no_pruning`` is the reason why pruning is refused, "" where it is not.
    ``chat_template`` is the tokenizer's, "" where it has none; `sap_core.models.chat_text` applies it.
    ``config`` and ``native_config`` are config.json as stored and as the native class reads it; ``keys`` maps stored
    tensor names to native ones.
    """

    ref: str
    path: str | None
    family: str
    title: str
    objective: str
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    ffn: int
    vocab_size: int
    max_length: int | None
    mask_token_id: int | None
    parameters: int
    bytes: int
    dtype: str
    matrices: tuple[Matrix, ...]
    samplers: tuple[str, ...]
    block_size: int | None = None
    shift_logits: bool = False
    no_pruning: str = ""
    chat_template: str = field(default="", repr=False)
    special_words: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    config: Config = field(default_factory=dict, repr=False, compare=False)
    native_config: Config = field(default_factory=dict, repr=False, compare=False)
    keys: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @property
    def row(self) -> Family:
        """The row of the table of families."""
        return FAMILIES[self.family]

    @property
    def patterns(self) -> tuple[str, ...]:
        """The pruning patterns that work on this model; none where pruning is refused."""
        if self.no_pruning:
            return ()
        units = self.row.units if self.native_config.get("model_type") in RESIZABLE else ()
        return (*self.row.patterns, *units)

    def check_prunable(self) -> None:
        """Raises ModelProblem with the reason where this model can't be pruned."""
        if self.no_pruning:
            raise ModelProblem(f"{self.ref} can't be pruned: {self.no_pruning}.")

    def check_masked(self) -> int:
        """The mask token's id.

        Raises:
            ModelProblem: an autoregressive model, one that denoises something else, or one that declares no mask token.
        """
        if self.objective == AUTOREGRESSIVE:
            raise ModelProblem(f"{self.ref} is autoregressive and has no mask token; a diffusion model is needed.")
        if not self.row.has_mask:
            raise ModelProblem(
                f"{self.ref} has no mask token: it denoises random tokens; what masks a text does not apply to it."
            )
        if self.mask_token_id is None:
            raise ModelProblem(
                f"{self.ref} declares no mask token in config.json or its tokenizer; "
                "give its id as mask_token_id (--mask-token-id)."
            )
        return self.mask_token_id

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: everything a page shows, matrices as their number."""
        hidden = ("config", "native_config", "keys", "matrices", "special_words")
        shown = {name: value for name, value in self.__dict__.items() if name not in hidden}
        lists = {"samplers": list(self.samplers), "patterns": list(self.patterns)}
        return {**shown, **lists, "matrices": len(self.matrices)}


def inspect_model(ref: str, *, mask_token_id: int | None = None) -> ModelInfo:
    """Recognises a model and describes it without reading weights.

    Args:
        ref: demo:NAME, a folder, or a Hub id.
        mask_token_id: For a model that does not declare its mask token.

    Raises:
        ModelProblem: nothing loadable there, or a config that no family matches or that lacks a field.
    """
    return describe(find_source(ref), mask_token_id=mask_token_id)


def describe(source: Source, *, mask_token_id: int | None = None) -> ModelInfo:
    """`inspect_model` for a source that was found already."""
    family = recognise(source.config)
    if family is None:
        kind = source.config.get("model_type") or source.config.get("architectures") or "nothing"
        raise ModelProblem(f"{source.ref} is of a kind that no family here reads ({kind}); `sap models` lists them.")
    native = family.native_config(source.config)
    sizes = read_sizes(native, source.ref)
    model_type = str(native.get("model_type", ""))
    keys = {tensor.key: module_key(family.native_key(tensor.key), model_type) for tensor in source.tensors}
    shapes = {keys[t.key]: t.shape for t in source.tensors if keys[t.key].startswith(family.blocks)}
    return ModelInfo(
        ref=source.ref,
        path=str(source.folder) if source.folder else None,
        family=family.name,
        title=family.title,
        objective=family.objective,
        **sizes,
        mask_token_id=_mask_token(family, source, native, sizes["vocab_size"], mask_token_id),
        parameters=sum(tensor.numel for tensor in source.tensors),
        bytes=sum(tensor.bytes for tensor in source.tensors),
        dtype=_main_dtype(source.tensors),
        matrices=find_matrices(shapes, model_type),
        samplers=family.samplers,
        block_size=family.block_size(source.config),
        shift_logits=family.shift_logits(source.config),
        no_pruning=family.no_pruning or _quantized(source.config) or _packed_experts(shapes),
        chat_template=template_of(source.tokenizer),
        special_words=special_words(source.tokenizer),
        config=source.config,
        native_config=native,
        keys=keys,
    )


def read_sizes(config: Config, ref: str) -> dict[str, Any]:
    """layers, heads, kv_heads, head_dim, hidden, ffn, vocab_size, max_length of a native config.

    Raises:
        ModelProblem: one that is needed is missing or no positive integer.
    """
    config = {**config, **(config.get("text_config") or {})}
    sizes = {}
    for name, aliases in FIELDS.items():
        value = next((config[alias] for alias in aliases if config.get(alias) is not None), None)
        if value is None and name not in NEEDED:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ModelProblem(f"{ref}: config.json says {aliases[0]}={value!r}; expected a positive whole number.")
        sizes[name] = value
    sizes.setdefault("kv_heads", sizes["heads"])
    sizes.setdefault("head_dim", sizes["hidden"] // sizes["heads"])
    sizes.setdefault("ffn", 4 * sizes["hidden"])
    sizes.setdefault("max_length", None)
    if sizes["max_length"] is not None:
        sizes["max_length"] -= first_position(config)
    return sizes


def first_position(config: Config) -> int:
    """The position id of a text's first token: 0, or in RoBERTa's kind the one after the padding token's id."""
    return config.get("pad_token_id", 1) + 1 if config.get("model_type") in ROBERTAS else 0


def _mask_token(family: Family, source: Source, native: Config, vocab_size: int, given: int | None) -> int | None:
    """The mask token: as given, else of the config, the tokenizer, the family."""
    if family.objective != MASKED_DIFFUSION:
        return None
    if given is not None:
        if not 0 <= given < vocab_size:
            raise ModelProblem(f"mask token {given} is outside the vocabulary of {source.ref} (0 to {vocab_size - 1}).")
        return given
    declared = native.get("mask_token_id")
    if declared is None:
        word = source.tokenizer.get("mask_token")
        word = word.get("content") if isinstance(word, dict) else word
        declared = source.tokenizer["vocabulary"].get(word) if word else None
    if declared is None and family.mask_token_id is not None and family.mask_token_id < vocab_size:
        declared = family.mask_token_id
    if declared is not None and not (isinstance(declared, int) and 0 <= declared < vocab_size):
        raise ModelProblem(
            f"{source.ref} declares mask token {declared!r}, outside its vocabulary (0 to {vocab_size - 1}); "
            "give the right one with mask_token_id."
        )
    return declared


def _quantized(config: Config) -> str:
    """Why a checkpoint with quantized weights can't be pruned; "" for any other."""
    method = (config.get("quantization_config") or {}).get("quant_method")
    return f"its weights are stored quantized ({method}); prune the unquantized model" if method else ""


def _packed_experts(shapes: dict[str, tuple[int, ...]]) -> str:
    """Why experts that are stored in 3-D tensors can't be pruned; "" where there are none."""
    packed = next((name for name, shape in shapes.items() if len(shape) == 3 and "expert" in name), None)
    return f"its experts are stored in 3-D tensors ({packed}), which no pruning pattern here reads" if packed else ""


def _main_dtype(tensors: tuple[StoredTensor, ...]) -> str:
    count: Counter[str] = Counter()
    for tensor in tensors:
        count[tensor.dtype] += tensor.numel
    return count.most_common(1)[0][0] if count else "float32"
