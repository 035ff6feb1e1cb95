"""`inspect_model`: recognise a model by its config.json and tensor headers, before any weight is read. No torch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ..errors import ModelProblem
from ..untrusted import foreign
from .chat import special_words, template_of
from .config_check import check_config, check_sizes
from .conventions import Given, conventions_of, row_with
from .family import MASKED_DIFFUSION, Config, Family
from .family_registry import recognise
from .headers import StoredTensor
from .info import ModelInfo
from .layout import BLOCK, EXPERT, PACKED_TYPES, Matrix, find_matrices, module_key
from .sizes import read_sizes
from .source import Source, find_source

# Stored matrices that the class of transformers holds as several.
SPLIT = {
    "nomic_bert": r"\.Wqkv\.",
    "jina_embeddings_v3": r"\.Wqkv\.",
    "gte": r"\.(qkv_proj|up_gate_proj)\.",
    "hrm_text": r"\.(gate_up_proj|gqkv_proj)\.",
}


def inspect_model(
    ref: str,
    *,
    mask_token_id: int | None = None,
    causal: bool | None = None,
    shift_logits: bool | None = None,
    block_size: int | None = None,
) -> ModelInfo:
    """Recognise a model and describe it without reading weights.

    Args:
        ref: demo:NAME, a folder, or a Hub id.
        mask_token_id: For a model that does not declare its mask token.
        causal: Whether attention is causal, if config.json does not say; see `load_model`.
        shift_logits: Whether row i predicts token i + 1, if it does not say.
        block_size: Tokens of a block that is denoised at once, if it does not say.

    Raises:
        ModelProblem: nothing loadable there, a config that no family matches or that lacks a field, or an undeclared
            convention.
    """
    given = Given(causal, shift_logits, block_size)
    return describe(find_source(ref), mask_token_id=mask_token_id, given=given)


def describe(source: Source, *, mask_token_id: int | None = None, given: Given | None = None) -> ModelInfo:
    """Return `inspect_model` of a source that was found already."""
    given = given or Given()
    source = replace(source, config=given.declared_in(source.config))
    with foreign(f"{source.ref}: config.json or the tokenizer does not fit its weights", problem=ModelProblem):
        return _describe(source, mask_token_id, given)


def _describe(source: Source, mask_token_id: int | None, given: Given) -> ModelInfo:
    check_config(source.config, source.ref, source.tensors)
    family = recognise(source.config, (tensor.key for tensor in source.tensors))
    if family is None:
        raise ModelProblem(f"{source.ref} {unread(source.config)}")
    if source.config.get("attention_type") == "block_sparse":
        raise ModelProblem(
            f"{source.ref} attends block-sparsely in long texts, which has no map of attention; its config.json must "
            'say attention_type "original_full".'
        )
    masked = mask_token_id is not None or declared_mask(source, source.config) is not None
    conventions = conventions_of(family, source.config, given, ref=source.ref, mask_declared=masked)
    family = row_with(family, conventions, source.ref)
    native = family.native_config(source.config)
    sizes = read_sizes(native, source.ref)
    model_type = str(native.get("model_type", ""))
    keys = {tensor.key: module_key(family.native_key(tensor.key), model_type) for tensor in source.tensors}
    shapes = {keys[t.key]: t.shape for t in source.tensors if keys[t.key].startswith(family.blocks)}
    blocks = {match["index"] for name in shapes if (match := BLOCK.match(name))}
    check_sizes(sizes, source.ref, {keys[t.key]: t.shape for t in source.tensors}, len(blocks))
    matrices = find_matrices(shapes, model_type)
    return ModelInfo(
        ref=source.ref,
        path=str(source.folder) if source.folder else None,
        row=family,
        family=family.name,
        title=family.title,
        objective=family.objective,
        **sizes,
        mask_token_id=_mask_token(family, source, native, sizes["vocab_size"], mask_token_id),
        parameters=sum(tensor.numel for tensor in source.tensors),
        bytes=sum(tensor.bytes for tensor in source.tensors),
        dtype=_main_dtype(source.tensors),
        matrices=matrices,
        samplers=family.samplers,
        block_size=conventions["block_size"].value,
        shift_logits=family.objective == MASKED_DIFFUSION and bool(conventions["shift_logits"].value),
        conventions=conventions,
        no_pruning=family.no_pruning
        or _quantized(source.config)
        or _packed_experts(shapes, model_type)
        or _split(source.tensors, model_type)
        or _incomplete(matrices, sizes["layers"]),
        chat_template=template_of(source.tokenizer),
        special_words=special_words(source.tokenizer),
        config=source.config,
        native_config=native,
        keys=keys,
    )


def _mask_token(family: Family, source: Source, native: Config, vocab_size: int, given: int | None) -> int | None:
    """Return the mask token: as given, else of the config, the tokenizer, or the family."""
    if family.objective != MASKED_DIFFUSION:
        return None
    if given is not None:
        if not 0 <= given < vocab_size:
            raise ModelProblem(f"mask token {given} is outside the vocabulary of {source.ref} (0 to {vocab_size - 1}).")
        return given
    declared = declared_mask(source, native)
    if declared is None and family.mask_token_id is not None and family.mask_token_id < vocab_size:
        declared = family.mask_token_id
    if declared is not None and not (isinstance(declared, int) and 0 <= declared < vocab_size):
        raise ModelProblem(
            f"{source.ref} declares mask token {declared!r}, outside its vocabulary (0 to {vocab_size - 1}); "
            "give the right one with mask_token_id."
        )
    return declared


def declared_mask(source: Source, config: Config) -> int | None:
    """Return the mask token that config.json or else the tokenizer names; None if neither does."""
    declared = config.get("mask_token_id")
    if declared is None:
        word = source.tokenizer.get("mask_token")
        word = word.get("content") if isinstance(word, dict) else word
        declared = source.tokenizer["vocabulary"].get(word) if word else None
    return declared


def _quantized(config: Config) -> str:
    """Return why a checkpoint with quantized weights can't be pruned; "" for any other."""
    method = (config.get("quantization_config") or {}).get("quant_method")
    return f"its weights are stored quantized ({method}); prune the unquantized model" if method else ""


def unread(config: Config) -> str:
    """Return what is wrong with a config that no family reads, and what to do; appended to the model's name."""
    names = [str(name) for name in config.get("architectures") or []]
    kind = config.get("model_type") or "nothing"
    if not names:
        return (
            f"({kind}) names no class in config.json's architectures; add the one it was saved from (...ForCausalLM)."
        )
    if config.get("is_encoder_decoder") or names[0].endswith(("Seq2SeqLM", "ForConditionalGeneration")):
        what = "reads images or sound beside text" if config.get("vision_config") else "is an encoder-decoder"
        return (
            f"({names[0]}) {what}; decoders (...ForCausalLM) and masked language models (...ForMaskedLM) can be read."
        )
    if names[0].endswith("Model"):
        return (
            f"({names[0]}) is a model without a head that predicts tokens, such as a sentence encoder; give the "
            "checkpoint with its language-model head (...ForCausalLM or ...ForMaskedLM)."
        )
    return f"is of a kind that no family here reads ({kind}, {names[0]}); `sap models` lists them."


def _incomplete(matrices: tuple[Matrix, ...], layers: int) -> str:
    """Return why a model whose blocks have no linear layers can't be pruned; "" if each has some."""
    missing = sorted(set(range(layers)) - {matrix.layer for matrix in matrices})
    if len(missing) == layers:
        return "no linear layers stand in numbered blocks in it: its layers share their weights, or are convolutions"
    return f"layer {missing[0]} holds no linear layer that could be pruned" if missing else ""


def _split(tensors: Sequence[StoredTensor], model_type: str) -> str:
    """Return why matrices that transformers splits when it loads them can't be pruned; "" where there are none."""
    pattern = SPLIT.get(model_type)
    name = next((tensor.key for tensor in tensors if pattern and re.search(pattern, tensor.key)), None)
    return f"transformers splits {name} when it loads it, and no pruning pattern here reads its parts" if name else ""


def _packed_experts(shapes: dict[str, tuple[int, ...]], model_type: str) -> str:
    """Why experts that transformers keeps in 3-D tensors can't be pruned; "" where there are none."""
    named = [name for name in shapes if re.search(r"\.experts\.\d+\.", name)]
    other = next((name for name in named if not EXPERT.match(name.removesuffix(".weight"))), None)
    if other:
        return f"its experts ({other}) are kept in 3-D tensors by transformers, which no pruning pattern here reads"
    if model_type in PACKED_TYPES:
        return ""
    packed = next(
        (
            name
            for name, shape in shapes.items()
            if len(shape) == 3 and re.search("expert|input_linear|output_linear", name)
        ),
        None,
    )
    return f"its experts are stored in 3-D tensors ({packed}), which no pruning pattern here reads" if packed else ""


def _main_dtype(tensors: tuple[StoredTensor, ...]) -> str:
    count: Counter[str] = Counter()
    for tensor in tensors:
        count[tensor.dtype] += tensor.numel
    return count.most_common(1)[0][0] if count else "float32"
