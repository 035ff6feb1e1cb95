"""Write a model in its original format: the same files, tensor names and config, with the current weights."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch
from torch import nn

from ..errors import OperationFailed
from ..resources import system_error
from .code_files import code_files
from .config_check import without_kernels
from .conventions import GIVEN
from .family import Config
from .headers import (
    INDEX,
    SINGLE,
    StoredTensor,
    read_headers,
)
from .info import ModelInfo
from .small_files import SMALL_FILES

# Copied as they are; weights and their index are written anew.
COPIED = (*SMALL_FILES, "LICENSE*")
_LINKED = {
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model",
    "chat_template.jinja",
}  # fmt: skip


def save_checkpoint(info: ModelInfo, module: nn.Module, state: dict[str, torch.Tensor], folder: Path) -> None:
    """Write a module to ``folder`` (created if needed) with exactly the tensor names and files of its source.

    Tensors that the native class does not have (stored buffers) are copied from the source. config.json is the source's
    own, except for its dtype if the model was loaded in another precision.

    Raises:
        OperationFailed: the source folder was removed, the module is quantized, or one of its weights has no stored
            name.
    """
    source = info.folder
    if not source.is_dir():
        raise OperationFailed(f"{source}, where the model was loaded from, is gone; its names and config are needed.")
    if getattr(module, "is_quantized", False) or info.config.get("quantization_config"):
        raise OperationFailed(f"{info.ref} was loaded quantized and can't be written in its source's format.")
    folder.mkdir(parents=True, exist_ok=True)
    stored = read_headers(source)
    _check_covered(info, module, stored, state)
    by_file: dict[str, list[StoredTensor]] = {}
    for tensor in stored:
        by_file.setdefault(tensor.file, []).append(tensor)
    total = 0
    for name, tensors in by_file.items():
        total += _write_file(info, source / name, folder / name, tensors, state)
    copy_small_files(info, str(module.dtype).removeprefix("torch."), folder)
    if not (source / SINGLE).is_file():
        write_index(folder, stored, total)


def write_safetensors(content: dict[str, torch.Tensor], target: Path, metadata: dict[str, str]) -> None:
    """Write tensors to one file, which may be read by whom any other new file may.

    Raises:
        OSError: the system refuses, for example because the disk is full; safetensors' own error hides that.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    target.unlink(missing_ok=True)
    target.touch()
    mode = target.stat().st_mode & 0o777  # as the umask has it; safetensors makes files for their owner alone
    try:
        save_file(content, target, metadata=metadata)
    except SafetensorError as error:
        number = system_error(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(target)) from error
    target.chmod(mode)


def write_index(folder: Path, stored: tuple[StoredTensor, ...], total: int) -> None:
    """Write model.safetensors.index.json of a sharded checkpoint; ``total``: bytes of all its tensors."""
    names = {tensor.key: tensor.file for tensor in stored}
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(names.items()))}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _write_file(
    info: ModelInfo, source: Path, target: Path, tensors: list[StoredTensor], state: dict[str, torch.Tensor]
) -> int:
    """Write one weights file and return the bytes of its tensors."""
    from safetensors import safe_open

    content = {}
    with safe_open(source, framework="pt") as original:
        metadata = original.metadata() or {"format": "pt"}
        for tensor in tensors:
            name = info.keys[tensor.key]
            value = state.get(name, state.get(tensor.key))
            # A clone, because tied weights share memory and safetensors refuses that.
            content[tensor.key] = original.get_tensor(tensor.key) if value is None else value.cpu().contiguous().clone()
    write_safetensors(content, target, metadata)
    return sum(value.numel() * value.element_size() for value in content.values())


def _check_covered(
    info: ModelInfo, module: nn.Module, stored: tuple[StoredTensor, ...], state: dict[str, torch.Tensor]
) -> None:
    """Check that every weight of the module is written under some name; tied ones count once."""
    written = {info.keys[tensor.key] for tensor in stored} | {tensor.key for tensor in stored}
    memory = {state[name].data_ptr() for name in written & state.keys()}
    lost = [name for name, value in state.items() if name not in written and value.data_ptr() not in memory]
    parameters = {name for name, _ in module.named_parameters()}
    lost = [name for name in lost if name in parameters]
    if lost:
        raise OperationFailed(f"{len(lost)} weights have no name in the source's format, first {lost[0]}; not saved.")


def copy_small_files(info: ModelInfo, dtype: str, folder: Path) -> None:
    """Copy everything beside the weights from the model's source.

    config.json gets ``dtype`` if that is a new one, and the conventions that the user gave, so that the copy is loaded
    as the original was.
    """
    copy_beside_weights(info.folder, folder, info.config)
    config = info.config if info.row.remote_code else without_kernels(info.config)
    if dtype != info.dtype:
        config = {**config, "dtype" if "dtype" in config else "torch_dtype": dtype}
    given = any(convention.known == GIVEN for convention in info.conventions.values())
    if config != info.config or given:
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def copy_beside_weights(source: Path, folder: Path, config: Config, without: tuple[str, ...] = ()) -> None:
    """Copy small files, and the Python files that ``config`` names as the model's own code, byte for byte.

    ``without``: names of files that are not copied.
    """
    names = {path.relative_to(source) for pattern in COPIED for path in source.glob(pattern)}
    names |= {Path(name) for name in code_files(source, config).here}
    for name in sorted(names):
        if name.name not in (INDEX, *without) and belongs(source / name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, folder / name)


def belongs(path: Path) -> bool:
    """Return whether a file of a model folder may be copied with it.

    A link out of the folder is followed only for the files that every checkpoint has: any other may lead to a private
    file of this machine, which an export would publish. The Hub's cache links to its own blobs.
    """
    if not path.is_symlink() or path.name in _LINKED:
        return True
    target, home = path.resolve(), path.parent.resolve()
    return target.is_relative_to(home) or target.is_relative_to(home.parents[1] / "blobs")
