"""A model family: one immutable row that says how such a model is recognised, loaded and sampled.

A family is data. Where data is not enough, ``adapter`` names a subclass of `sap_core.models.loaded.LoadedModel` as
"module:Class"; it is imported only when a model is loaded, so that this module needs no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Config = dict[str, Any]

MASKED_DIFFUSION = "masked_diffusion"
AUTOREGRESSIVE = "autoregressive"
PATTERNS = ("unstructured", "2:4", "4:8")
# Native classes whose sizes are free of each other, and in which a smaller shape is a matter of config.json.
RESIZABLE = ("llama", "mistral", "qwen2", "qwen3")
HEAD_SIZED = ("qwen2", "qwen3")  # of these, those whose head size is free of the width, so that heads can leave
# Native classes that hold their blocks in one list and need no more than a smaller number of them in config.json.
LAYERED = (
    *RESIZABLE, "qwen3_moe", "sap_llada2_moe", "sap_dit", "bert", "roberta", "distilbert", "modernbert", "eurobert"
)  # fmt: skip


@dataclass(frozen=True)
class Family:
    """One row of the table of families.

    Attributes:
        name: Identifier, as in `ModelInfo.family`.
        title: For people.
        examples: Models of this family that people use.
        objective: "masked_diffusion" or "autoregressive".
        matches: Whether a config.json, as it stands on disk, is of this family. Rows are asked in order.
        marks: What the name of a stored tensor has to begin with, where config.json alone does not tell; "": nothing.
        native_config: config.json -> the config of the native transformers class, with its ``model_type``.
        architecture: Name of the native transformers class, or "module:Class" of one in this package; "" takes the one
            AutoModelForCausalLM has for the config.
        natives: Where ``architecture`` is "", the model types that ``native_config`` can give; empty: any.
        tokenizer: transformers tokenizer class that stands in for a custom one; "" takes what the folder names.
        key_mapping: (pattern, replacement) pairs, applied in order, from stored tensor names to native ones.
        mask_token_id: Used where neither config nor tokenizer declare one.
        shift_logits: config.json -> whether the model's row i predicts token i + 1 although it denoises;
            `LoadedModel.logits` shifts it back.
        blocks: Native names of the prunable matrices begin with this; "" takes every numbered block.
        has_mask: Whether the model denoises a mask token.
        forbid_mask_prediction: The mask token is never a prediction (models that were not trained to avoid it).
        closes_canvas: The tokenizer ends a text with a token ([SEP]) that belongs at the end of the canvas.
        block_size: config.json -> tokens a block-causal model denoises at a time; None: the whole canvas.
        reserves_end: Its canvas ends with a padding token that the model sees (RND1 keeps a place for an end).
        answer_starts_block: A block-causal model's blocks are counted from where the prompt ends; it was trained on
            prompts padded on the left to whole blocks.
        draws: How its published samplers draw tokens, in `sap_core.choices.samplers`.
        top_k: What its published settings hand down; None: no limit.
        threshold: Of its sampler "low_confidence_dynamic", where it is not that sampler's own.
        uniform_noise: Sink-aware pruning's public code draws a noise level for each pass over it (Dream), instead of
            going through evenly spaced ones.
        rounded_shares: Its samplers share a block's tokens among the steps by rounding (dLLM), not evenly (LLaDA).
        samplers: Names in `sap_core.choices.samplers.SAMPLERS`, the default first.
        patterns: Patterns of single weights that work on it; empty with ``no_pruning`` saying why.
        units: Whole units (heads, channels, layers) that can be taken out of a model whose native class is one of
            `RESIZABLE`, or for layers of `LAYERED`, because config.json can say the smaller shape and the family's own
            code can read it.
        config_aliases: Native config field -> what config.json calls it, for the fields that a smaller shape changes.
        mixture: Its models, or some of them, are mixtures of experts, which can be taken out whole.
        no_pruning: Reason why pruning is refused; "" where it is not.
        export: What an exported folder is, in a few words.
        remote_code: The model's own Python code is needed, hence the user's consent.
        adapter: "module:Class" of the `LoadedModel` subclass.
        reader: "module:function" that reads the weights: (source, info, placing) -> torch module.
    """

    name: str
    title: str
    examples: str
    objective: str
    matches: Callable[[Config], bool]
    samplers: tuple[str, ...]
    marks: str = ""
    native_config: Callable[[Config], Config] = dict
    architecture: str = ""
    natives: tuple[str, ...] = ()
    tokenizer: str = ""
    key_mapping: tuple[tuple[str, str], ...] = ()
    mask_token_id: int | None = None
    shift_logits: Callable[[Config], bool] = lambda config: False
    blocks: str = ""
    has_mask: bool = True
    forbid_mask_prediction: bool = False
    closes_canvas: bool = False
    block_size: Callable[[Config], int | None] = lambda config: None
    reserves_end: bool = False
    answer_starts_block: bool = False
    draws: str = "gumbel"
    top_k: int | None = None
    threshold: float | None = None
    uniform_noise: bool = False
    rounded_shares: bool = False
    patterns: tuple[str, ...] = PATTERNS
    units: tuple[str, ...] = ()
    mixture: bool = False
    config_aliases: tuple[tuple[str, str], ...] = ()
    no_pruning: str = ""
    export: str = "native names and config"
    remote_code: bool = False
    adapter: str = "plain"
    reader: str = "native"

    def units_of(self, model_type: str) -> tuple[str, ...]:
        """Return the units that can be taken out of a model of this family whose native class has that type."""
        if model_type in RESIZABLE:
            return self.units
        return tuple(unit for unit in self.units if unit == "layers" and model_type in LAYERED)

    def native_key(self, key: str) -> str:
        """Return the native name of a stored tensor."""
        for pattern, replacement in self.key_mapping:
            key = re.sub(pattern, replacement, key)
        return key


def model_type_is(*names: str) -> Callable[[Config], bool]:
    """Return a ``matches`` that compares config.json's model_type, letter case aside."""
    known = {name.lower() for name in names}
    return lambda config: str(config.get("model_type", "")).lower() in known
