"""`export_gguf`: write a model as one GGUF file for llama.cpp, and read it back tensor by tensor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import InvalidInput, OperationFailed
from ..models.gguf_names import Architecture, architecture_of, gguf_name
from ..models.layout import expert_counts
from ..progress import Progress, ProgressCallback, silent
from ..storage import check_space, disk_problem
from ..storage.output import Output
from .gguf_vocabulary import NO_TOKENIZER, Vocabulary, vocabulary_of

if TYPE_CHECKING:
    from ..models.loaded import LoadedModel

PRECISIONS = ("f16", "q8_0", "q4_0")
_BLOCK = 32  # weights that share a scale in q8_0 and q4_0
_SPARE = 32 << 20


@dataclass(frozen=True)
class GgufReport:
    """Result of a GGUF export.

    Attributes:
        file: The file.
        bytes: Its size.
        architecture: llama.cpp's.
        precision: Of the matrices of the blocks.
        tokenizer: "gpt2", or "none" where llama.cpp knows no such tokenizer: token ids only.
        tensors: How many were written, read back, and compared.
        largest_error: The largest difference of a weight from the model's, as a share of its group's largest weight.
    """

    file: Path
    bytes: int
    architecture: str
    precision: str
    tokenizer: str
    tensors: int
    largest_error: float

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able dict."""
        return self.__dict__ | {"file": str(self.file)}


def export_gguf(
    model: LoadedModel,
    out: str | os.PathLike,
    *,
    precision: str = "f16",
    overwrite: bool = False,
    progress: ProgressCallback = silent,
) -> GgufReport:
    """Write a model, dense or pruned, as a GGUF file.

    Every tensor is read back by the package gguf and compared before the file gets its name. Norms, biases and routers
    are kept in float32; in q8_0 and q4_0 the embeddings and the output matrix are q8_0, and matrices whose inputs are
    no multiple of 32 are f16.

    Args:
        model: The model: of the Llama and Qwen kin, LLaDA, Dream, LLaDA-MoE and RND1.
        out: The file, NAME.gguf.
        precision: "f16", "q8_0" or "q4_0".
        overwrite: Replace a file that is there.
        progress: Called after every tensor.

    Raises:
        InvalidInput: the package gguf is missing, no architecture of llama.cpp computes this model, weights beyond the
            range of f16, or ``out`` can't be written.
        OperationFailed: what was read back is not what was written.
    """
    check_gguf(out, precision)
    info = model.info
    if model.offloaded or getattr(model.module, "is_quantized", False):
        raise InvalidInput(f"{info.ref} has weights out of reach or in bitsandbytes' form; load it in full precision.")
    architecture = architecture_of(info)
    counts = set(expert_counts(info.matrices, info.layers))
    if len(counts) > 1:
        raise InvalidInput(
            f"{info.ref} can't be written as GGUF: its layers have {min(counts)} to {max(counts)} experts, and "
            f"{architecture.name} has one number for all."
        )
    tensors = dict(_tensors(model, architecture))
    vocabulary = vocabulary_of(model)
    with Output(out, folder=False, replace=overwrite) as output:
        size = {"f16": 2.0, "q8_0": 1.0625, "q4_0": 0.5625}[precision]
        check_space(output.target.parent, int(size * info.parameters) + _SPARE, "The export")
        try:
            _write(output.part, model, architecture, tensors, vocabulary, precision, progress)
            worst = read_back(output.part, tensors, precision)
        except OSError as error:
            raise disk_problem(error, output.target) from error
        output.publish()
    bytes_ = output.target.stat().st_size
    kind = vocabulary.model if vocabulary else NO_TOKENIZER
    return GgufReport(output.target, bytes_, architecture.name, precision, kind, len(tensors), worst)


def check_gguf(out: str | os.PathLike, precision: str) -> None:
    """Raise InvalidInput if no GGUF file can be written as asked; nothing is loaded."""
    if precision not in PRECISIONS:
        raise InvalidInput(f"precision is '{precision}'; expected one of {', '.join(PRECISIONS)}.")
    if not str(out).endswith(".gguf"):
        raise InvalidInput(f"out is '{out}'; expected a file NAME.gguf.")
    if find_spec("gguf") is None:
        raise InvalidInput("GGUF files are written with the package gguf: pip install 'sap-studio[gguf]'.")


def _tensors(model: LoadedModel, architecture: Architecture) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield (llama.cpp's name, values on the CPU) of every tensor; the experts of a layer as one."""
    config, experts = model.info.native_config, {}
    tied = model.module.config.tie_word_embeddings
    for native, value in model.module.state_dict().items():
        named = gguf_name(native)
        if named is None:
            raise InvalidInput(f"{model.info.ref} can't be written as GGUF: {architecture.name} has no {native}.")
        name, expert = named
        if tied and name == "output.weight":
            continue
        tensor = value.detach().cpu()
        kind = name.split(".")[-2]
        if architecture.permuted and kind in ("attn_q", "attn_k"):
            heads = config["num_attention_heads" if kind == "attn_q" else "num_key_value_heads"]
            tensor = permuted(tensor, heads)
        if expert is not None:
            experts.setdefault(name, {})[expert] = tensor
        else:
            yield name, tensor
    for name, parts in experts.items():
        yield name, torch.stack([parts[number] for number in range(len(parts))])


def permuted(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Return rows of q or k reordered from rotated halves to rotated pairs: rows i of both halves side by side."""
    halves = tensor.view(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
    return halves.transpose(1, 2).reshape(tensor.shape)


def type_of(name: str, tensor: torch.Tensor, precision: str) -> Any:
    """Return the type in which a tensor is stored."""
    from gguf import GGMLQuantizationType as Types

    if tensor.dim() == 1 or "ffn_gate_inp" in name:
        return Types.F32
    if precision == "f16" or tensor.shape[-1] % _BLOCK:
        return Types.F16
    return Types.Q8_0 if precision == "q8_0" or name.startswith(("token_embd", "output")) else Types.Q4_0


def _write(
    path: Path, model: LoadedModel, architecture: Architecture, tensors: dict[str, torch.Tensor],
    vocabulary: Vocabulary | None, precision: str, progress: ProgressCallback,
) -> None:  # fmt: skip
    from gguf import GGMLQuantizationType as Types
    from gguf import GGUFWriter, LlamaFileType
    from gguf.quants import quantize

    writer = GGUFWriter(path, architecture.name)
    file_type = {"f16": LlamaFileType.MOSTLY_F16, "q8_0": LlamaFileType.MOSTLY_Q8_0, "q4_0": LlamaFileType.MOSTLY_Q4_0}
    writer.add_file_type(file_type[precision])
    writer.add_quantization_version(2)
    _write_sizes(writer, model)
    (vocabulary or Vocabulary(NO_TOKENIZER)).write(writer)
    for done, (name, tensor) in enumerate(tensors.items()):
        kind = type_of(name, tensor, precision)
        values = tensor.float().numpy()
        if kind is Types.F16 and not np.isfinite(values.astype(np.float16)).all():
            raise InvalidInput(f"{name} has weights beyond the range of f16 (65504); choose q8_0.")
        stored = quantize(values, kind)
        writer.add_tensor(name, stored, raw_dtype=kind)
        progress(Progress("export", done + 1, len(tensors), "converting"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_sizes(writer: Any, model: LoadedModel) -> None:
    """Write the sizes and conventions of the model under the keys that llama.cpp reads."""
    info, config = model.info, model.info.native_config
    rope = config.get("rope_parameters") or {}
    writer.add_name(Path(info.ref.removeprefix("demo:")).name)
    writer.add_block_count(info.layers)
    writer.add_context_length(info.max_length or 4096)
    writer.add_embedding_length(info.hidden)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(info.head_dim)
    writer.add_value_length(info.head_dim)
    writer.add_rope_dimension_count(info.head_dim)
    writer.add_rope_freq_base(float(rope.get("rope_theta", config.get("rope_theta", 10000.0))))
    writer.add_layer_norm_rms_eps(float(config["rms_norm_eps"]))
    writer.add_vocab_size(info.vocab_size)
    counts = expert_counts(info.matrices, info.layers)
    if any(counts):
        writer.add_expert_count(max(counts))
        writer.add_expert_used_count(config["num_experts_per_tok"])
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    if model.is_diffusion:
        writer.add_causal_attention(False)
        writer.add_diffusion_shift_logits(info.shift_logits)
        if info.mask_token_id is not None:
            writer.add_mask_token_id(info.mask_token_id)


def read_back(path: Path, tensors: dict[str, torch.Tensor], precision: str) -> float:
    """Compare every tensor of a file with the model's; return the largest error relative to its group's largest weight.

    Raises:
        OperationFailed: a tensor is missing, or further from the model's than its type rounds.
    """
    from gguf import GGMLQuantizationType as Types
    from gguf import GGUFReader
    from gguf.quants import dequantize

    # Half a step of each type: of the mantissa of f16, of 127 steps, of 8 (and one more at the end of the range).
    bounds = {Types.F32: 0.0, Types.F16: 2.0**-11, Types.Q8_0: 0.51 / 127 + 2.0**-11, Types.Q4_0: 1.01 / 8}
    stored = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
    if set(stored) != set(tensors):
        raise OperationFailed(f"the written file has {len(stored)} tensors where {len(tensors)} were written.")
    worst = 0.0
    for name, tensor in tensors.items():
        kind = type_of(name, tensor, precision)
        found, wanted = stored[name], tensor.float().numpy()
        if found.tensor_type != kind or tuple(found.shape.tolist()) != tuple(reversed(wanted.shape)):
            raise OperationFailed(f"{name} was read back in another type or shape than it was written in.")
        values = dequantize(found.data, kind).reshape(wanted.shape)
        width = _BLOCK if kind in (Types.Q8_0, Types.Q4_0) else 1
        errors, sizes = (np.abs(each).reshape(-1, width).max(1) for each in (values - wanted, wanted))
        smallest = 2.0**-24 if kind is Types.F16 else 1e-7
        if not (errors <= bounds[kind] * sizes + smallest).all():
            raise OperationFailed(f"{name} was read back with other values than were written.")
        worst = max(worst, float((errors / np.maximum(sizes, 1e-30))[sizes > 2.0**-14].max(initial=0.0)))
    return worst
