"""The proof that an exported folder loads elsewhere: a fresh interpreter loads it and its logits are compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput, OperationFailed
from ..models.config_check import kernel_names
from ..models.headers import read_header
from ..models.inspection import describe
from ..models.per_layer import brings_own_code
from ..models.source import read_folder
from ..untrusted import check_path, is_file

if TYPE_CHECKING:
    from ..models.info import ModelInfo
    from ..models.loaded import LoadedModel

EXPECTED = "sap_verify.safetensors"
MANIFEST = "sap_manifest.json"
_TOKENS = 24
_LARGEST = 1 << 20  # logits kept in the folder: 4 MB
_SEED = 20
# Largest difference of logits that counts as equal, in float32; for 16-bit weights, as a share of the largest logit.
TOLERANCE = 1e-4
TOLERANCE_16_BIT = 0.05
_TIMEOUT = 1800
LOADERS = ("transformers", "sap_core")


def verify_checkpoint(folder: str | os.PathLike) -> dict[str, Any]:
    """Load ``folder`` in a new process and compares its logits with those of the model that was exported.

    The process uses stock transformers alone (AutoModelForCausalLM or AutoModelForMaskedLM, AutoTokenizer), except
    for families whose format no stock class reads; those go through `sap_core.load_model`, and "loader" says so. Code
    in the folder is run only if it is, to the letter, the modelling file that exports of uneven layers bring.

    Returns:
        {"equal", "loader", "max_difference", "tolerance", "tokens_checked", "class", "tokenizer", "versions"}.

    Raises:
        InvalidInput: the folder is no export of this package, or holds what no loader should be given: damaged files,
            sizes that do not fit its weights, names in config.json that make a loader fetch kernels.
        OperationFailed: it does not load; the message has the loader's last line.
    """
    folder = Path(folder)
    check_path(folder, "folder")
    if not is_file(folder / EXPECTED):
        raise InvalidInput(f"{folder} has no {EXPECTED}; expected a folder written by `sap prune --out` or export.")
    loader = loader_of(folder)
    config = describe(read_folder(str(folder), folder)).config
    kernels = kernel_names(config)
    if kernels:
        raise InvalidInput(
            f"{folder}: config.json names {', '.join(kernels)}, which make a loader fetch and run kernels; "
            "remove those names and verify again."
        )
    script = Path(__file__).with_name("fresh_process.py")
    environment = dict(os.environ)
    if loader == "sap_core":
        root = str(Path(__file__).resolve().parents[2])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH")]))
    # -P keeps the script's own folder off the path: nothing of this package can slip in by accident.
    trusted = ["trust"] if brings_own_code(folder, config) else []
    command = [sys.executable, "-P", str(script), str(folder.absolute()), loader, *trusted]
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,  # nobody may be asked whether code of the folder should run
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            cwd=folder,
        )
    except subprocess.TimeoutExpired:
        raise OperationFailed(f"{folder} did not load within {_TIMEOUT // 60} minutes in a fresh process.") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise OperationFailed(f"{folder} does not load in a fresh process ({loader}): {last}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    dtype = config.get("dtype") or config.get("torch_dtype") or "float32"
    tolerance = TOLERANCE if dtype == "float32" else TOLERANCE_16_BIT * found["largest_logit"]
    return {"equal": found["max_difference"] <= tolerance, "loader": loader, "tolerance": tolerance} | found


def loads_with(info: ModelInfo) -> str:
    """ "transformers" where stock classes read the family's own format, else "sap_core"."""
    row = info.row
    stock = info.native_config.get("model_type") == info.config.get("model_type") and not row.key_mapping
    return "transformers" if stock and not row.remote_code else "sap_core"


def auto_class(info: ModelInfo) -> str:
    """Return the Auto class of transformers that reads an export."""
    architecture = (info.native_config.get("architectures") or [""])[0]
    return "AutoModelForMaskedLM" if architecture.endswith("ForMaskedLM") else "AutoModelForCausalLM"


def loader_of(folder: Path) -> str:
    """Return the loader an export was made for, from its expected-logits file's metadata."""
    tensors, metadata = read_header(folder, EXPECTED)
    kinds = {tensor.key: (tensor.dtype, len(tensor.shape)) for tensor in tensors}
    loader = metadata.get("loader", "transformers")
    small = all(tensor.numel <= 2 * _LARGEST + (1 << 20) for tensor in tensors)
    if kinds != {"tokens": ("int64", 2), "logits": ("float32", 3)} or not small or loader not in LOADERS:
        raise InvalidInput(f"{folder / EXPECTED} does not hold the tokens and logits of an export; export it again.")
    return loader


def write_expected(model: LoadedModel, folder: Path) -> None:
    """Fixed random tokens and the model's logits on them, for whoever wants to check a copy of the folder."""
    import torch
    from safetensors.torch import save_file

    length = min(_TOKENS, model.info.max_length or _TOKENS)
    generator = torch.Generator().manual_seed(_SEED)
    tokens = torch.randint(0, model.info.vocab_size, (1, length), generator=generator)
    with torch.no_grad():
        logits = model.forward(tokens.to(model.device), None).float().cpu()
    kept = max(1, min(length, _LARGEST // logits.shape[-1]))
    save_file(
        {"tokens": tokens, "logits": logits[:, :kept].contiguous()},
        folder / EXPECTED,
        metadata={"loader": loads_with(model.info), "format": "pt"},
    )
