"""Layers, heads, widths and lengths of a native config, whatever its field names. No torch."""

from __future__ import annotations

from typing import Any

from ..errors import ModelProblem
from .family import Config

# One quantity, the names configs give it; the first that is there counts.
FIELDS = {
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "heads": ("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads"),
    "head_dim": ("head_dim",),
    "hidden": ("hidden_size", "n_embd", "dim", "d_model"),
    "ffn": ("moe_intermediate_size", "intermediate_size", "n_inner", "ffn_dim", "hidden_dim", "ffn_hidden_size"),
    "vocab_size": ("vocab_size",),
    "max_length": ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"),
}
NEEDED = ("layers", "heads", "hidden", "vocab_size")
# Types whose first position is the one after the padding token's id, as transformers' classes of these names count.
ROBERTAS = (
    "roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "data2vec-text", "esm", "ibert", "longformer", "mpnet",
    "roberta-prelayernorm", "xmod", "lilt", "luke", "markuplm", "layoutlmv3",
)  # fmt: skip
PADDING_OF_KIND = {"mpnet": 1}  # classes that count from 1, whatever pad_token_id says


def read_sizes(config: Config, ref: str) -> dict[str, Any]:
    """Return layers, heads, kv_heads, head_dim, hidden, ffn, vocab_size and max_length of a native config.

    Raises:
        ModelProblem: one that is needed is missing or no positive integer.
    """
    config = {**config, **(config.get("text_config") or {})}
    sizes = {}
    for name, aliases in FIELDS.items():
        value = next((config[alias] for alias in aliases if config.get(alias) is not None), None)
        if value is None and name not in NEEDED:
            continue
        if value is None and name == "heads":
            raise ModelProblem(
                f"{ref}: config.json ({config.get('model_type')}) says no number of attention heads "
                "(num_attention_heads); a model without attention, such as a state-space model, can't be read here."
            )
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
    """Return the position id of a text's first token: 0, or for RoBERTa-like models padding token's id + 1."""
    kind = config.get("model_type")
    if kind not in ROBERTAS or (kind == "esm" and config.get("position_embedding_type") == "rotary"):
        return 0
    padding = PADDING_OF_KIND.get(kind, config.get("pad_token_id", 1))
    if padding is None:
        raise ModelProblem(
            f"config.json says pad_token_id=null, but a {kind} model counts its positions from the padding token's id; "
            "give the one it was trained with (1 in RoBERTa)."
        )
    return padding + 1
