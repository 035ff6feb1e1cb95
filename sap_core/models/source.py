"""The source of a model: a demo name, a folder, or a Hub id, and what is read before any weight. No torch."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelProblem
from ..storage.output import recover
from ..untrusted import check_path, foreign, is_file, read_text, shown
from .code_files import ENCODING, FILE_LIMIT, documents_of, follow
from .headers import DTYPES, StoredTensor, read_headers
from .packed import grid_of, unpacked
from .small_files import ADAPTER, CONFIG, SMALL_FILES, check_small_files, read_config, tokenizer_facts

DEMO = "demo:"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True)
class Source:
    """A found model: its folder (None for a Hub model that is not downloaded), config.json and tensor headers."""

    ref: str
    folder: Path | None
    config: dict[str, Any]
    tensors: tuple[StoredTensor, ...]
    tokenizer: dict[str, Any]


def find_source(ref: str) -> Source:
    """Find the model that ``ref`` names, and read its config and headers.

    Raises:
        ModelProblem: nothing there, no config, no safetensors weights, a gated, missing or offline Hub id.
    """
    folder = local_folder(ref)
    if folder is None:
        return _hub_source(ref)
    return read_folder(ref, folder)


def _without_config(folder: Path) -> str:
    """Return a description of a folder without config.json, from its files."""
    if next(folder.glob("*.gguf"), None) is not None:
        return f"{folder} holds GGUF files, which can't be read here; give the safetensors model they were made from."
    return f"{folder} has no config.json; expected a folder written by save_pretrained."


def read_folder(ref: str, folder: Path) -> Source:
    """Read the config and headers of the model in ``folder``, under the name ``ref``.

    Raises:
        ModelProblem: no config, no safetensors weights, a file that is damaged, too large or no regular file.
    """
    with foreign(f"{folder} can't be read", "; check the folder and its permissions", problem=ModelProblem):
        path = folder / CONFIG
        if (folder / ADAPTER).exists():
            raise ModelProblem(
                f"{folder} holds an adapter ({ADAPTER}), such as LoRA, which some loaders apply and others do not; "
                "give its base model, and this folder as adapter (--adapter FOLDER)."
            )
        if not is_file(path):
            raise ModelProblem(_without_config(folder))
        config = read_config(path)
        tensors = unpacked(read_headers(folder), grid_of(config), str(folder))
        check_small_files(folder)
        return Source(ref, folder, config, tensors, tokenizer_facts(folder))


def local_folder(ref: str) -> Path | None:
    """Return the folder of a demo name or path; None if ``ref`` can only be a Hub id.

    Raises:
        ModelProblem: a path that is not there, or not a folder.
    """
    if not isinstance(ref, str) or not ref.strip():
        raise ModelProblem("No model was named; expected demo:NAME, a folder, or a Hub id such as owner/name.")
    if ref.startswith(DEMO):
        from .demo_checkpoints import checkpoint_path

        return Path(checkpoint_path(ref.removeprefix(DEMO)))
    check_path(ref, "model", ModelProblem)
    with foreign(f"There is no folder {shown(ref)}", problem=ModelProblem):
        folder = Path(ref).expanduser()
    recover(folder)
    if os.path.isdir(folder):
        return folder
    if os.path.lexists(folder):
        raise ModelProblem(f"{ref} is no folder; expected the one that holds config.json and the weights.")
    if not HUB_ID.fullmatch(ref):
        raise ModelProblem(f"There is no folder {ref}; expected demo:NAME, a folder, or a Hub id such as owner/name.")
    return None


def download(ref: str) -> Path:
    """Download a Hub model and return its folder.

    Downloaded are safetensors weights, the files beside them, and as text the Python files that its config names as its
    own code, so that an export can contain them.

    Raises:
        ModelProblem: gated, missing, or not reachable.
    """
    from huggingface_hub import snapshot_download

    patterns = [*SMALL_FILES, "*.safetensors"]
    folder = Path(_ask_hub(ref, lambda: snapshot_download(ref, allow_patterns=patterns)))
    follow(documents_of(folder), lambda name: _code_text(ref, folder, name))
    return folder


def _code_text(ref: str, folder: Path, name: str) -> str | None:
    """Return the text of a Python file of a Hub model, downloaded if it is not here.

    None if it can't be downloaded, or is larger than any real one.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    path = folder / name
    try:
        if not is_file(path):
            revision = folder.name  # a folder of the Hub's cache is named after its commit
            size = get_hf_file_metadata(hf_hub_url(ref, name, revision=revision)).size
            if size is None or size > FILE_LIMIT:
                return None
            path = Path(hf_hub_download(ref, name, revision=revision))
        return read_text(path, name, limit=FILE_LIMIT, encoding=ENCODING, problem=ModelProblem)
    except (
        Exception
    ):  # of whichever HTTP library the client uses; without its code a native class still loads the model
        return None


def _hub_source(ref: str) -> Source:
    from huggingface_hub import get_safetensors_metadata, hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def fetch(name: str) -> Path | None:
        try:
            return Path(hf_hub_download(ref, name))
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            return None

    _ask_hub(ref, lambda: _check_reachable(ref))
    config = _ask_hub(ref, lambda: fetch("config.json"))
    if config is None:
        if _ask_hub(ref, lambda: fetch(ADAPTER)) is not None:
            raise ModelProblem(
                f"The Hub model {ref} is an adapter ({ADAPTER}), not a whole model; download it, give its base model, "
                "and its folder as adapter (--adapter FOLDER)."
            )
        raise ModelProblem(f"The Hub model {ref} has no config.json; it can't be loaded by transformers.")
    for name in ("special_tokens_map.json", "tokenizer_config.json", "tokenizer.json", "chat_template.jinja"):
        try:
            fetch(name)
        except (LocalEntryNotFoundError, OSError):  # out of reach: what is not there already is done without
            break
    folder = config.parent
    try:
        cached = Path(snapshot_download(ref, local_files_only=True))
        tensors = read_headers(cached)
    except (LocalEntryNotFoundError, ModelProblem):
        metadata = _ask_hub(ref, lambda: get_safetensors_metadata(ref))
        tensors = tuple(
            StoredTensor(key, tuple(info.shape), DTYPES.get(info.dtype, (info.dtype,))[0], name)
            for name, file in metadata.files_metadata.items()
            for key, info in file.tensors.items()
        )
        cached = None
    return Source(ref, cached, read_config(config), tensors, tokenizer_facts(folder))


def _check_reachable(ref: str) -> None:
    """Send one request: the Hub's own client retries for half a minute before it reports that it can't connect.

    Raises:
        ConnectionError: no answer.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError

    if constants.HF_HUB_OFFLINE or isinstance(try_to_load_from_cache(ref, "config.json"), str):
        return
    try:
        get_hf_file_metadata(hf_hub_url(ref, "config.json"), timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except HfHubHTTPError:
        return  # an answer, whatever it is; who asks for the file gets it again
    except Exception as error:  # of whichever HTTP library the client uses
        raise ConnectionError(str(error) or type(error).__name__) from None


def _ask_hub(ref: str, ask: Any) -> Any:
    """Return the answer of the Hub, or raise ModelProblem with the reason."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        NotASafetensorsRepoError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    try:
        return ask()
    except GatedRepoError:
        raise ModelProblem(
            f"The Hub model {ref} is gated: accept its terms on https://huggingface.co/{ref}, then run `hf auth login`."
        ) from None
    except RepositoryNotFoundError:
        raise _not_public(ref) from None
    except NotASafetensorsRepoError:
        raise ModelProblem(f"The Hub model {ref} has no safetensors weights; pickled weights are refused.") from None
    except HFValidationError:
        raise ModelProblem(f"There is no folder {ref}, and it is no Hub id such as owner/name.") from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        if getattr(getattr(error, "response", None), "status_code", None) in (401, 404):
            raise _not_public(ref) from None
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelProblem(
            f"There is no folder {ref} here, and the Hub can't be asked for it ({reason}); "
            "go online, download it first, or give its folder."
        ) from None


def _not_public(ref: str) -> ModelProblem:
    return ModelProblem(
        f"There is no folder {ref} here and no public Hub model of that name; check the spelling, "
        "or run `hf auth login` if it is private."
    )
