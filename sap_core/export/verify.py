"""Verify that an exported folder loads elsewhere: a fresh interpreter loads it and its logits are compared."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput, OperationFailed
from ..models.code_files import code_files
from ..models.config_check import kernel_names
from ..models.families.remote import CLASSES
from ..models.headers import read_header
from ..models.inspection import describe
from ..models.per_layer import brings_own_code
from ..models.source import read_folder
from ..untrusted import check_path, is_file

if TYPE_CHECKING:
    from ..models.info import ModelInfo
    from ..models.loaded import LoadedModel

EXPECTED = "sap_verify.safetensors"
_TOKENS = 24
_LARGEST = 1 << 20  # logits kept in the folder: 4 MB
_SEED = 20
# Largest difference of logits that counts as equal, in float32; for 16-bit weights, as a share of the largest logit.
TOLERANCE = 1e-4
TOLERANCE_16_BIT = 0.05
_TIMEOUT = 1800
LOADERS = ("transformers", "sap_core")
ORIGINAL = "original"


def verify_checkpoint(
    folder: str | os.PathLike, *, original_code: bool = False, trust_remote_code: bool = False
) -> dict[str, Any]:
    """Load ``folder`` in a new process and compare its logits with those of the model that was exported.

    The process uses stock transformers alone (AutoModelForCausalLM or AutoModelForMaskedLM, AutoTokenizer), except for
    families whose format no stock class reads; those use `sap_core.load_model`, and "loader" says so. Code in the
    folder is run only if it is, byte for byte, the modelling file that exports of uneven layers contain, or if the
    caller asks for it.

    Args:
        folder: The exported folder.
        original_code: Compute the logits with the publisher's Python code in the folder, which its config.json names;
            "loader" is then "original".
        trust_remote_code: Consent to run that code; needed with ``original_code``.

    Returns:
        {"equal", "loader", "max_difference", "tolerance", "tokens_checked", "class", "tokenizer", "versions"}.

    Raises:
        InvalidInput: the folder is no export of this package, or has what no loader should be given: damaged files,
            sizes that do not fit its weights, names in config.json that make a loader fetch kernels; its own code is
            asked for and is not there, or consent is not given.
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
    if original_code:
        check_original_code(folder, config, trust_remote_code)
        loader = ORIGINAL
    elif trust_remote_code:
        raise InvalidInput("trust_remote_code (--trust-remote-code) belongs to the original code; add --original-code.")
    found = _in_fresh_process(folder, loader, trusted=brings_own_code(folder, config))
    dtype = config.get("dtype") or config.get("torch_dtype") or "float32"
    tolerance = TOLERANCE if dtype == "float32" else TOLERANCE_16_BIT * found["largest_logit"]
    return {"equal": found["max_difference"] <= tolerance, "loader": loader, "tolerance": tolerance} | found


def check_original_code(folder: Path, config: dict[str, Any], trust_remote_code: bool) -> None:
    """Raise InvalidInput if the code that a folder's config.json names is incomplete, or may not be run."""
    code = code_files(folder, config)
    if not any(name in (config.get("auto_map") or {}) for name in CLASSES):
        raise InvalidInput(f"{folder} has no code of its own: config.json names no model class in auto_map.")
    if code.missing or code.elsewhere:
        named = ", ".join((*code.missing, *(f"code of {name}" for name in code.elsewhere)))
        raise InvalidInput(
            f"{folder} lacks Python files that its config.json names ({named}); download them from where the original "
            "was published, put them beside config.json, and verify again."
        )
    if not trust_remote_code:
        files = ", ".join(
            f"{name} (sha256 {hashlib.sha256((folder / name).read_bytes()).hexdigest()[:12]})" for name in code.here
        )
        raise InvalidInput(
            f"This runs the Python code in {folder}: {files}. Read it; if you trust it, add --trust-remote-code "
            "(trust_remote_code=True)."
        )


def _in_fresh_process(folder: Path, loader: str, *, trusted: bool) -> dict[str, Any]:
    """Return what `fresh_process.main` prints.

    Raises:
        InvalidInput, OperationFailed: as `verify_checkpoint`.
    """
    script = Path(__file__).with_name("fresh_process.py")
    environment = dict(os.environ)
    if loader != "transformers":
        root = str(Path(__file__).resolve().parents[2])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH")]))
    # -P keeps the script's own folder off the path: nothing of this package can slip in by accident.
    command = [sys.executable, "-P", str(script), str(folder.absolute()), loader, *(["trust"] if trusted else [])]
    with tempfile.TemporaryDirectory(prefix="sap-verify-") as modules:
        environment["HF_MODULES_CACHE"] = modules  # where transformers copies code before it imports it
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
            minutes = _TIMEOUT // 60
            raise OperationFailed(f"{folder} did not load within {minutes} minutes in a fresh process.") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        last = re.sub(r"^sap_core\.errors\.\w+: ", "", last)
        raise OperationFailed(f"{folder} does not load in a fresh process ({loader}): {last}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def loads_with(info: ModelInfo) -> str:
    """Return "transformers" if stock classes read the family's own format, else "sap_core"."""
    family = info.row
    stock = info.native_config.get("model_type") == info.config.get("model_type") and not family.key_mapping
    return "transformers" if stock and not family.remote_code else "sap_core"


def auto_class(info: ModelInfo) -> str:
    """Return the Auto class of transformers that reads an export."""
    architecture = (info.native_config.get("architectures") or [""])[0]
    if architecture.endswith("ForBlockDiffusion"):  # no Auto class has it
        return architecture
    return "AutoModelForMaskedLM" if architecture.endswith("ForMaskedLM") else "AutoModelForCausalLM"


def loader_of(folder: Path) -> str:
    """Return the loader of an export, from the metadata of its expected-logits file."""
    tensors, metadata = read_header(folder, EXPECTED)
    kinds = {tensor.key: (tensor.dtype, len(tensor.shape)) for tensor in tensors}
    loader = metadata.get("loader", "transformers")
    small = all(tensor.numel <= 2 * _LARGEST + (1 << 20) for tensor in tensors)
    if kinds != {"tokens": ("int64", 2), "logits": ("float32", 3)} or not small or loader not in LOADERS:
        raise InvalidInput(f"{folder / EXPECTED} does not hold the tokens and logits of an export; export it again.")
    return loader


def write_expected(model: LoadedModel, folder: Path) -> None:
    """Write fixed random tokens and the model's logits on them, from which a copy of the folder can be checked."""
    import torch

    from ..models.saving import write_safetensors

    length = min(_TOKENS, model.info.max_length or _TOKENS)
    generator = torch.Generator().manual_seed(_SEED)
    tokens = torch.randint(0, model.info.vocab_size, (1, length), generator=generator)
    with torch.no_grad():
        logits = model.forward(tokens.to(model.device), None).float().cpu()
    kept = max(1, min(length, _LARGEST // logits.shape[-1]))
    write_safetensors(
        {"tokens": tokens, "logits": logits[:, :kept].contiguous()},
        folder / EXPECTED,
        {"loader": loads_with(model.info), "format": "pt"},
    )
