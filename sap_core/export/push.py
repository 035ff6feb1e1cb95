"""`push_checkpoint`: upload an exported folder to the Hugging Face Hub in one commit. No torch here.

The token is read by the Hub's own client (HF_TOKEN, or `hf auth login`). It is never an argument and never appears in a
spec, run, log or message.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput, OperationFailed
from ..progress import Progress, ProgressCallback, silent
from ..specs import PushSpec, asked_spec
from .provenance import MANIFEST

if TYPE_CHECKING:
    from huggingface_hub import HfApi

COMMIT = "Pruned checkpoint by Sink-Aware Pruning Studio"


@dataclass(frozen=True)
class PushReport:
    """Result of a push: the model's page, the commit's id, and the uploaded files."""

    repo: str
    url: str
    commit: str
    files: tuple[str, ...]
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able dict."""
        return self.__dict__ | {"files": list(self.files)}


def push_checkpoint(
    folder: str | os.PathLike | None = None,
    repo: str | None = None,
    *,
    private: bool | None = None,
    revision: str | None = None,
    spec: PushSpec | None = None,
    endpoint: str | None = None,
    progress: ProgressCallback = silent,
) -> PushReport:
    """Upload a folder that `export_checkpoint` wrote as the model ``repo``, created if it does not exist.

    Large files are uploaded one by one, and the commit comes last: a push that is stopped leaves the model on the Hub
    unchanged.

    Args:
        folder: The exported folder.
        repo: NAME/MODEL.
        private: Whether a repository created now is private.
        revision: Branch to commit to.
        spec: In place of the fields before it.
        endpoint: Another Hub than $HF_ENDPOINT.
        progress: Called after every file.

    Raises:
        InvalidInput: no export in the folder, no repository's name, no token; nothing was sent.
        OperationFailed: the Hub refuses or can't be reached; the message has its reason.
        Cancelled: from ``progress``.
    """
    given = {"folder": None if folder is None else str(folder), "repo": repo, "private": private, "revision": revision}
    spec = asked_spec(PushSpec.given, None, spec, given)
    path = check_push(spec)
    from huggingface_hub import HfApi, get_token

    token = get_token()
    if not token:
        raise InvalidInput("No token for the Hub: set HF_TOKEN where this runs, or log in with `hf auth login`.")
    files = sorted(item for item in path.rglob("*") if item.is_file())
    try:
        commit = _upload(HfApi(endpoint=endpoint, token=token), spec, path, files, progress)
    except OSError as error:  # the Hub's and the network's errors are OSErrors, or carry one
        raise OperationFailed(_reason(error, spec.repo, token)) from None
    except ValueError as error:
        raise InvalidInput(_reason(error, spec.repo, token)) from None
    size = sum(item.stat().st_size for item in files)
    names = tuple(item.relative_to(path).as_posix() for item in files)
    progress(Progress("push", len(files) + 1, len(files) + 1, "On the Hub"))
    return PushReport(spec.repo, commit["url"], commit["oid"], names, size)


def check_push(spec: PushSpec) -> Path:
    """Check everything that needs no network and return the folder to push.

    Raises:
        InvalidInput: as `push_checkpoint`.
    """
    path = Path(spec.folder).expanduser().absolute()
    if not (path / MANIFEST).is_file():
        raise InvalidInput(f"{path} has no {MANIFEST}; give a folder that `sap prune --out` or `sap export` wrote.")
    return path


def _upload(api: HfApi, spec: PushSpec, path: Path, files: list[Path], progress: ProgressCallback) -> dict[str, str]:
    from huggingface_hub import CommitOperationAdd
    from huggingface_hub.utils import HfHubHTTPError

    total = len(files) + 1
    progress(Progress("push", 0, total, "Making the repository"))
    try:
        made = api.create_repo(spec.repo, private=spec.private, exist_ok=True)
        if spec.revision:
            api.create_branch(made.repo_id, branch=spec.revision, exist_ok=True)
        operations = []
        for done, file in enumerate(files):
            name = file.relative_to(path).as_posix()
            progress(Progress("push", done, total, f"Uploading {name}"))
            operations.append(CommitOperationAdd(path_in_repo=name, path_or_fileobj=file))
            api.preupload_lfs_files(made.repo_id, additions=operations[-1:], revision=spec.revision, free_memory=False)
        progress(Progress("push", total - 1, total, "Committing"))
        commit = api.create_commit(made.repo_id, operations, commit_message=COMMIT, revision=spec.revision)
    except HfHubHTTPError as error:
        raise OSError(str(error)) from error
    except Exception as error:  # the HTTP client's own errors of connection share no base with anything of ours
        if type(error).__module__.split(".")[0] in ("httpx", "httpcore", "requests", "hf_xet"):
            raise OSError(f"the Hub can't be reached ({type(error).__name__}: {error})") from error
        raise
    return {"url": str(made), "oid": commit.oid}


def _reason(error: BaseException, repo: str, token: str) -> str:
    """Return an error on one line, without the token."""
    text = " ".join(str(error).split()).replace(token, "***")
    text = re.sub(r"hf_[A-Za-z0-9]{8,}", "***", text)
    hint = " The token in HF_TOKEN must be allowed to write there." if re.search(r"\b40[13]\b", text) else ""
    return f"Can't push to {repo}: {text[:400]}{hint}"
