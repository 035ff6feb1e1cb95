"""LoRA folders: what such a folder holds, whether it fits a model, and its merging into the model's weights by peft.

W' = W + (alpha / r) B A, with alpha / sqrt(r) for rank-stabilised LoRA (arXiv 2106.09685; 2312.03732). An adapter names
modules as the publisher's code does; here they are found under the native names. No torch before `merge_adapter`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelProblem
from ..untrusted import foreign, is_file, shown
from .headers import StoredTensor, read_header
from .layout import module_key
from .small_files import ADAPTER, read_config

if TYPE_CHECKING:
    from torch import nn

    from .info import ModelInfo

WEIGHTS = "adapter_model.safetensors"
# Fields of adapter_config.json under which B A is all there is to add; any other that is set names another kind.
KNOWN = {
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "bias", "ensure_weight_tying", "eva_config",
    "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern", "layers_to_transform",
    "lora_alpha", "lora_dropout", "megatron_config", "megatron_core", "modules_to_save", "peft_type", "peft_version",
    "qalora_group_size", "r", "rank_pattern", "revision", "runtime_config", "target_modules", "task_type", "use_dora",
    "use_rslora",
}  # fmt: skip
# Ways of starting a LoRA that leave the base as it is; "pissa" and "olora" take a part out of it first, as peft does.
STARTS = (True, False, "gaussian", "orthogonal", "eva", "pissa", "olora")
_PREFIX = "base_model.model."
_PART = re.compile(r"\.lora_(?P<part>A|B|embedding_A|embedding_B|magnitude_vector)(\.weight)?$")


@dataclass(frozen=True)
class Adapter:
    """A LoRA folder, read as far as its config and headers.

    Attributes:
        fields: adapter_config.json.
        modules: Module name in the publisher's code -> {part -> its tensor}; parts are A, B, embedding_A, embedding_B
            and magnitude_vector (DoRA), or "whole" for a module that the adapter stores whole.
    """

    folder: Path
    fields: dict[str, Any]
    modules: dict[str, dict[str, StoredTensor]]

    @property
    def base(self) -> str:
        """The model that it was trained on, as it says."""
        return str(self.fields.get("base_model_name_or_path") or "")


def read_adapter(folder: str | Path) -> Adapter:
    """Return the LoRA in a folder.

    Raises:
        ModelProblem: no adapter, one of another kind than LoRA, or weights that can't be read or are pickled.
    """
    folder = Path(folder).expanduser()
    with foreign(f"adapter {folder} can't be read", problem=ModelProblem):
        if not is_file(folder / ADAPTER):
            raise ModelProblem(f"adapter {folder} has no {ADAPTER}; expected a LoRA folder written by peft.")
        fields = read_config(folder / ADAPTER)
        _check_kind(folder, fields)
        if not is_file(folder / WEIGHTS):
            pickled = " (its weights are pickled, which are refused)" if is_file(folder / "adapter_model.bin") else ""
            raise ModelProblem(f"adapter {folder} has no {WEIGHTS}{pickled}; save it again with safetensors.")
        modules: dict[str, dict[str, StoredTensor]] = {}
        for tensor in read_header(folder, WEIGHTS)[0]:
            name, part = _named(folder, tensor.key)
            modules.setdefault(name, {})[part] = tensor
    return Adapter(folder, fields, modules)


def check_adapter(adapter: Adapter, info: ModelInfo) -> None:
    """Hold an adapter to a model, before any weight is read.

    Raises:
        ModelProblem: peft is not installed, or the adapter is of another model: by the Hub id it names, by its modules
            or by their shapes.
    """
    _import_peft()
    with foreign(f"adapter {adapter.folder} does not fit {info.ref}", problem=ModelProblem):
        hub = not Path(info.ref).exists() and "/" in info.ref
        if hub and re.fullmatch(r"[\w.-]+/[\w.-]+", adapter.base) and adapter.base.lower() != info.ref.lower():
            raise ModelProblem(
                f"adapter {adapter.folder} belongs to {adapter.base}, not to {info.ref}; load that model."
            )
        known = {matrix.name: (matrix.rows, matrix.cols) for matrix in info.matrices}
        for name, parts in adapter.modules.items():
            native = native_module(info, name)
            if native is None:
                raise ModelProblem(
                    f"adapter {adapter.folder} changes {shown(name)}, which {info.ref} ({info.title}) does not have; "
                    f"expected an adapter of this model{_of(adapter)}."
                )
            if native in known:
                _check_shapes(adapter, name, parts, *known[native])


def merge_adapter(module: nn.Module, adapter: Adapter, info: ModelInfo) -> nn.Module:
    """Return ``module`` with the adapter merged into its weights, in place, through peft.

    Raises:
        ModelProblem: peft refuses it, tensors are left over or missing, or it changes embeddings that are tied.
    """
    peft = _import_peft()
    from safetensors.torch import load_file
    from torch.nn import Embedding, Linear, ModuleDict

    native = {name: str(native_module(info, name)) for name in adapter.modules}
    _check_tied(module, adapter, set(native.values()))
    whole = {name for name, parts in adapter.modules.items() if "whole" in parts}
    for name, parts in adapter.modules.items():
        layer = module.get_submodule(native[name])
        if name not in whole and not isinstance(layer, Linear | Embedding):
            raise ModelProblem(
                f"adapter {adapter.folder}: {shown(name)} is no linear layer in {type(module).__name__}."
            )
        if isinstance(layer, Linear):
            _check_shapes(adapter, name, parts, *layer.weight.shape)
    with foreign(f"adapter {adapter.folder} can't be merged into {info.ref}", problem=ModelProblem):
        # Inside a plain module, because of transformers' own ones peft takes experts to be packed, which here are not.
        inside = {name: f"model.{found}" for name, found in native.items()}
        wrapped = peft.get_peft_model(ModuleDict({"model": module}), _lora_config(peft, adapter, inside, whole))
        tensors = {}
        for key, value in load_file(adapter.folder / WEIGHTS).items():
            name, _ = _named(adapter.folder, key)
            tensors[_PREFIX + inside[name] + key.removeprefix(_PREFIX).removeprefix(name)] = value
        result = peft.set_peft_model_state_dict(wrapped, tensors)
        missing = [key for key in result.missing_keys if ".lora_" in key]
        if missing or result.unexpected_keys:
            raise ModelProblem(
                f"adapter {adapter.folder}: tensors do not match, first {[*missing, *result.unexpected_keys][0]}."
            )
        merged = wrapped.merge_and_unload(safe_merge=True)["model"]
    return merged.eval().requires_grad_(False)


def native_module(info: ModelInfo, name: str) -> str | None:
    """Return the native name of a module that the publisher's code calls ``name``; None where there is none."""
    native = str(info.native_config.get("model_type", ""))
    weights = {key.removesuffix(".weight") for key in info.keys.values()} | {"lm_head"}
    for candidate in (name, f"model.{name}"):
        result = module_key(info.row.native_key(f"{candidate}.weight"), native).removesuffix(".weight")
        if result in weights:
            return result
    return None


def _lora_config(peft: Any, adapter: Adapter, native: dict[str, str], whole: set[str]) -> Any:
    """Return peft's config under native names; ranks are those of the stored matrices."""
    fields = adapter.fields
    alphas = fields.get("alpha_pattern") or {}
    ranks, scales = {}, {}
    for name, parts in adapter.modules.items():
        if name in whole:
            continue
        key = re.escape(native[name])
        ranks[key] = parts["A" if "A" in parts else "embedding_A"].shape[0]
        pattern = next((each for each in alphas if re.match(rf"(.*\.)?({each})$", name)), None)
        scales[key] = alphas[pattern] if pattern else fields["lora_alpha"]
    return peft.LoraConfig(
        r=fields["r"],
        lora_alpha=fields["lora_alpha"],
        target_modules=[native[name] for name in native if name not in whole],
        modules_to_save=[native[name] for name in sorted(whole)] or None,
        rank_pattern=ranks,
        alpha_pattern=scales,
        use_rslora=bool(fields.get("use_rslora")),
        use_dora=bool(fields.get("use_dora")),
        init_lora_weights=fields.get("init_lora_weights", True),
        inference_mode=True,
    )


def _check_kind(folder: Path, fields: dict[str, Any]) -> None:
    """Raise ModelProblem for an adapter that is no plain LoRA, with what it is."""
    kind = fields.get("peft_type")
    if kind != "LORA":
        raise ModelProblem(
            f"adapter {folder} is of kind {shown(kind)}; only LoRA is merged here: what other kinds add is no sum with "
            "the weights, or is not checked here."
        )
    for name in ("r", "lora_alpha"):
        if not isinstance(fields.get(name), int | float) or isinstance(fields[name], bool) or fields[name] <= 0:
            raise ModelProblem(f"adapter {folder} has {name}={shown(fields.get(name))}; expected a number above 0.")
    special = sorted(name for name, value in fields.items() if value and name not in KNOWN)
    if fields.get("bias", "none") != "none":
        special.append(f"bias={fields['bias']}")
    start = fields.get("init_lora_weights", True)
    if start not in STARTS and start is not None:
        special.append(f"init_lora_weights={start}")
    if special:
        raise ModelProblem(
            f"adapter {folder} is a LoRA with {shown(special[0])}, which can't be merged here; merge it with the code "
            "it was trained with and give the merged model."
        )


def _named(folder: Path, key: str) -> tuple[str, str]:
    """Return (module, part) of a stored tensor's name."""
    inside = key.removeprefix(_PREFIX)
    if match := _PART.search(inside):
        return inside[: match.start()], match["part"]
    if inside.endswith(".weight") and ".lora_" not in inside:
        return inside.removesuffix(".weight"), "whole"
    raise ModelProblem(f"adapter {folder} holds {shown(key)}, which is no part of a LoRA that can be merged here.")


def _check_shapes(adapter: Adapter, name: str, parts: dict[str, StoredTensor], rows: int, cols: int) -> None:
    if "whole" in parts:
        right, result = parts["whole"].shape == (rows, cols), [parts["whole"].shape]
    else:
        pair = [parts[part].shape for part in ("A", "B") if part in parts]
        right = "embedding_A" in parts or (
            len(pair) == 2 and pair[0][1:] == (cols,) and pair[1][:1] == (rows,) and pair[0][0] == pair[1][-1]
        )
        result = pair
    if not right:
        raise ModelProblem(
            f"adapter {adapter.folder}: {shown(name)} has {' and '.join(str(list(shape)) for shape in result)} for a "
            f"matrix of {rows} x {cols}; it is of another model{_of(adapter)}."
        )


def _check_tied(module: Any, adapter: Adapter, names: set[str]) -> None:
    """Refuse what changes a matrix that is input embedding and output head at once: peft would change both."""
    head = module.get_output_embeddings()
    rows = module.get_input_embeddings()
    if head is None or rows is None or head.weight.data_ptr() != rows.weight.data_ptr():
        return
    touched = [name for name in names if module.get_submodule(name) in (head, rows)]
    if touched:
        raise ModelProblem(
            f"adapter {adapter.folder} changes {touched[0]}, which the model uses as input embedding and output head "
            "at once; it can't be merged into one of them."
        )


def _of(adapter: Adapter) -> str:
    return f" (it says it belongs to {shown(adapter.base)})" if adapter.base else ""


def _import_peft() -> Any:
    try:
        import peft  # pyright: ignore[reportMissingImports]  an extra
    except ImportError:
        raise ModelProblem(
            'An adapter is merged by peft, which is not installed: pip install "sap-studio[adapters]".'
        ) from None
    return peft
