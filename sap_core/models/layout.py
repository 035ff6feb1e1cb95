"""Find the prunable matrices of a checkpoint by their names: blocks, attention and feed-forward. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

BLOCK = re.compile(r"^(?P<prefix>(?:.*\.)?(?:layers|layer|h|blocks|block))\.(?P<index>\d+)\.(?P<rest>.+)\.weight$")

# Ending of a module's name inside its block -> what it is. The first that fits is taken, so long endings come first.
KINDS = (
    ("q", ("q_proj", "attention.self.query", "q_lin")),
    ("k", ("k_proj", "attention.self.key", "k_lin")),
    ("v", ("v_proj", "attention.self.value", "v_lin")),
    ("qkv", ("qkv_proj", "query_key_value", "attn.c_attn", "Wqkv", "attn_qkv")),
    ("o", ("o_proj", "attn.out_proj", "attention.out_proj", "attention.output.dense", "out_lin", "attn.c_proj",
           "attn.Wo", "attention.dense", "attn.dense", "attn_out")),
    ("gate_up", ("gate_up_proj", "mlp.Wi")),
    ("gate", ("gate_proj",)),
    ("up", ("up_proj", "fc1", "fc_in", "c_fc", "dense_h_to_4h", "intermediate.dense", "lin1",
            "mlp.0")),
    ("down", ("down_proj", "fc2", "fc_out", "mlp.c_proj", "dense_4h_to_h", "output.dense", "lin2", "mlp.Wo", "mlp.2")),
)  # fmt: skip
# Small matrices that steer rather than compute; pruning one breaks what it steers.
ROUTERS = (
    "mlp.gate",
    "router",
    "router.proj",
    "shared_expert_gate",
    "adaLN_modulation",
    "pos_proj",
    "pos_q_proj",
    "rel_attn.r",
)

# One matrix of one of several experts that a router chooses among; its number.
EXPERT = re.compile(r"^(?P<owner>.+\.experts)\.(?P<number>\d+)\.(gate_proj|up_proj|down_proj)$")

# The experts of a layer in two tensors (experts, outputs, inputs): gate and up behind one another, and down.
PACKED = re.compile(r"^(?P<owner>(?:.*\.)?layers\.(?P<index>\d+)\.(?:.+\.)?experts)\.(?P<name>gate_up_proj|down_proj)$")
# Types whose checkpoints hold them so, and whose classes compute down(act(gate(x)) * up(x)) with them.
PACKED_TYPES = ("diffusion_gemma",)

# Module paths that a checkpoint of the bare model leaves out of its names.
BASE = {"gpt2": "transformer", "bloom": "transformer", "gpt_bigcode": "transformer", "opt": "model"}
# Stored names that the native class has under another one: patterns and replacements.
RENAMED = {
    "mixtral": (
        (r"\.block_sparse_moe\.", ".mlp."),
        (r"(\.experts\.\d+)\.w1\.", r"\1.gate_proj."),
        (r"(\.experts\.\d+)\.w3\.", r"\1.up_proj."),
        (r"(\.experts\.\d+)\.w2\.", r"\1.down_proj."),
    ),
    "gpt_neox": ((r"^embed_out\.", "lm_head."),),
    "bert": ((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias")),
}
# Classes that store a linear layer as (in, out).
TRANSPOSED = {"gpt2", "openai-gpt"}


@dataclass(frozen=True)
class Matrix:
    """One prunable matrix: native module name, its block, ``rows`` outputs by ``cols`` inputs, and its kind."""

    name: str
    layer: int
    rows: int
    cols: int
    kind: str


def find_matrices(shapes: dict[str, tuple[int, ...]], model_type: str) -> tuple[Matrix, ...]:
    """Return the linear layers inside the blocks, in block order.

    Args:
        shapes: Native tensor name -> shape as stored.
        model_type: As in the native config.
    """
    result = []
    for key, shape in shapes.items():
        if len(shape) == 3 and model_type in PACKED_TYPES and (packed := PACKED.match(key)):
            result += _packed_matrices(packed, shape)
        match = BLOCK.match(key)
        if not match or len(shape) != 2:
            continue
        rest = match["rest"]
        kind = kind_of(rest)
        if kind is None:
            continue
        rows, cols = reversed(shape) if model_type in TRANSPOSED else shape
        result.append(Matrix(key.removesuffix(".weight"), int(match["index"]), rows, cols, kind))
    order = [kind for kind, _ in KINDS] + ["other"]
    result.sort(key=lambda matrix: (matrix.layer, order.index(matrix.kind), _natural(matrix.name)))
    return tuple(result)


def _packed_matrices(packed: re.Match[str], shape: tuple[int, ...]) -> list[Matrix]:
    """Return the matrices of every expert in one packed tensor, under the names they have once it is unpacked."""
    count, rows, cols = shape
    kinds = ("gate", "up") if packed["name"] == "gate_up_proj" else ("down",)
    return [
        Matrix(f"{packed['owner']}.{number}.{kind}_proj", int(packed["index"]), rows // len(kinds), cols, kind)
        for number in range(count)
        for kind in kinds
    ]


def expert_counts(matrices: Iterable[Matrix], layers: int) -> list[int]:
    """Return how many experts each layer has, 0 if it has none."""
    result: dict[int, set[int]] = {}
    for matrix in matrices:
        if match := EXPERT.match(matrix.name):
            result.setdefault(matrix.layer, set()).add(int(match["number"]))
    return [len(result.get(layer, ())) for layer in range(layers)]


def kind_of(rest: str) -> str | None:
    """Return the kind of a module inside a block, by its name.

    "other" for an unknown one, None for one that is not to be pruned.
    """
    if _ends(rest, ROUTERS) or "embed" in rest or "norm" in rest.rsplit(".", 1)[-1].lower():
        return None
    return next((kind for kind, endings in KINDS if _ends(rest, endings)), "other")


def module_key(key: str, model_type: str) -> str:
    """Return the native module's name of a stored tensor: renamed, with the inner model's path if that was left out."""
    for pattern, replacement in RENAMED.get(model_type, ()):
        key = re.sub(pattern, replacement, key)
    base = BASE.get(model_type)
    if base is None or key.startswith((f"{base}.", "lm_head.")):
        return key
    return f"{base}.{key}"


def _ends(name: str, endings: tuple[str, ...]) -> bool:
    return any(name == ending or name.endswith((f".{ending}", f"_{ending}")) for ending in endings)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]
