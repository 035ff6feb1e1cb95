"""What the Hub says over the wire, and what the user reads: a small server on this machine stands in for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "0" * 40
ROOT = Path(__file__).parents[2]
# What the Hub answers for a file of each repository: status and headers.
ANSWERS = {
    "somebody/gated": (403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model is restricted."}),
    "somebody/missing": (404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}),
    "somebody/private": (401, {"X-Error-Message": "Invalid username or password."}),
    "somebody/empty": (404, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}),
    "somebody/barred": (403, {}),  # by something between here and the Hub
}
SCRIPT = """
import json, sys
from sap_core.errors import ModelProblem
from sap_core.models import inspect_model
said = {}
for ref in sys.argv[1:]:
    try:
        info = inspect_model(ref)
        said[ref] = [info.family, info.layers, info.parameters, info.mask_token_id, info.path]
    except ModelProblem as error:
        said[ref] = str(error)
print(json.dumps(said))
"""


class Hub(BaseHTTPRequestHandler):
    """Serves ``folder`` as somebody/tiny; every other repository as ANSWERS says."""

    folder: Path
    sent: list[tuple[str, int]]

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        path = self.path.split("?")[0].strip("/")
        repository = "/".join(path.removeprefix("api/models/").split("/")[:2])
        status, headers = ANSWERS.get(repository, (200, {}))
        body = b""
        if status == 200:
            status, headers, body = self.of_model(path)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)
            self.sent.append((path.rsplit("/")[-1], status))

    def of_model(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if path.startswith("api/"):
            files = [{"rfilename": file.name} for file in self.folder.iterdir()]
            return 200, {"Content-Type": "application/json"}, json.dumps(
                {"id": "somebody/tiny", "sha": COMMIT, "siblings": files, "private": False, "tags": []}
            ).encode()  # fmt: skip
        file = self.folder / path.split("/resolve/")[1].partition("/")[2]
        if not file.is_file():
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b""
        body, status = file.read_bytes(), 200
        headers = {"ETag": f'"{file.name}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if "Range" in self.headers:
            first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
            status = 206
            headers["Content-Range"] = f"bytes {first}-{last or len(body) - 1}/{len(body)}"
            body = body[int(first) : int(last) + 1 if last else None]
        return status, headers, body


@pytest.fixture(scope="module")
def said(tiny_diffusion: Path, tmp_path_factory: pytest.TempPathFactory, warm_python: None):
    """ref -> what `inspect_model` says, asked in a process of its own; and what the server sent."""
    sent: list[tuple[str, int]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("TinyHub", (Hub,), {"folder": tiny_diffusion, "sent": sent}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    place = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path_factory.mktemp("hub")),
        "HF_HUB_OFFLINE": "0",
        "HF_TOKEN": "",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, "somebody/tiny", *ANSWERS],
            cwd=ROOT, env={**os.environ, **place}, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr
    offline = subprocess.run(
        [sys.executable, "-c", SCRIPT, "somebody/gated"],
        cwd=ROOT, env={**os.environ, **place, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return {**json.loads(done.stdout), "offline": json.loads(offline.stdout)["somebody/gated"]}, sent


def test_a_model_is_described_without_its_weights(said) -> None:
    answers, sent = said
    assert answers["somebody/tiny"] == ["native-diffusion", 3, 34_016, 2, None]
    # Of the weights only the beginning was asked for, where their header is.
    assert {status for name, status in sent if name == "model.safetensors"} == {206}


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("somebody/gated", "is gated: accept its terms"),
        ("somebody/missing", "no public Hub model of that name"),
        ("somebody/private", "no public Hub model of that name"),
        ("somebody/empty", "has no config.json"),
        ("somebody/barred", "the Hub can't be asked for it"),
        ("offline", "the Hub can't be asked for it"),
    ],
)
def test_each_answer_is_told_apart(said, ref: str, words: str) -> None:
    answer = said[0][ref]
    assert words in answer and "\n" not in answer
