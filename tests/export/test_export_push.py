"""Pushing to the Hub: over the wire to a made-up Hub on loopback, by the command line and by a job."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sap_core.errors import InvalidInput
from sap_core.export.provenance import MANIFEST
from sap_core.export.push import check_push, push_checkpoint
from sap_core.specs import PushSpec

TOKEN = "hf_secretsecretsecret"


class Hub(BaseHTTPRequestHandler):
    """Takes what huggingface_hub sends for a new model of small files; ``refuse`` answers everything with that."""

    calls: list
    committed: dict
    refuse: int

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.calls.append((self.path, self.headers.get("Authorization"), body))
        if self.server.refuse:
            return self._answer({"error": f"Forbidden for {TOKEN}"}, self.server.refuse)
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            return self._answer({"url": f"{self.server.url}/{name}", "name": name})
        if self.path == "/api/validate-yaml":  # of the card
            return self._answer({"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            files = json.loads(body)["files"]
            return self._answer(
                {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            )
        if "/commit/" in self.path:
            for line in body.splitlines():
                row = json.loads(line)
                if row["key"] == "file":
                    self.server.committed[row["value"]["path"]] = base64.b64decode(row["value"]["content"])
            page = f"{self.server.url}/somebody/small/commit/{'c' * 40}"
            return self._answer({"success": True, "commitUrl": page, "commitOid": "c" * 40})
        self._answer({"error": f"unexpected {self.path}"}, 404)

    def _answer(self, document, status=200):
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.calls, server.committed, server.refuse = [], {}, 0
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path):
    """What an export leaves, as far as a push looks at it."""
    path = tmp_path / "small"
    path.mkdir()
    (path / MANIFEST).write_text("{}")
    (path / "README.md").write_text("# small")
    (path / "model.safetensors").write_bytes(bytes(range(256)))
    return path


def sap(hub, tmp_path, *words, code="from sap_core.cli import main; import sys; sys.exit(main(sys.argv[1:]))"):
    environment = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "HF_TOKEN")}
    environment |= {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "home")}
    environment |= {"SAP_RUNS": str(tmp_path / "runs"), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.slow
def test_a_folder_arrives_byte_for_byte_and_the_token_is_only_in_the_header(hub, folder, tmp_path):
    done = sap(hub, tmp_path, "push", folder, "somebody/small", "--private", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["commit"] == "c" * 40 and report["url"] == f"{hub.url}/somebody/small"
    assert hub.committed == {item.name: item.read_bytes() for item in folder.iterdir()}
    paths = [path for path, _, _ in hub.calls]
    assert paths[0] == "/api/repos/create" and "/commit/" in paths[-1]  # the commit comes last
    assert b"private" in hub.calls[0][2]
    assert all(authorization == f"Bearer {TOKEN}" for _, authorization, _ in hub.calls)
    assert TOKEN not in done.stdout + done.stderr and not any(TOKEN.encode() in body for _, _, body in hub.calls)


def test_a_refusal_is_one_line_without_the_token_and_a_job_stores_none(hub, folder, tmp_path):
    hub.refuse = 403
    code = """
import sys
from pathlib import Path
from sap_core.jobs.cache import ModelCache
from sap_core.jobs.execute import execute
from sap_core.specs import PushSpec
try:
    execute(PushSpec(folder=sys.argv[1], repo="somebody/small"), Path(sys.argv[2]), ModelCache(), lambda report: None)
except Exception as error:
    print(type(error).__name__, error)
"""
    run = tmp_path / "runs" / "push"
    done = sap(hub, tmp_path, folder, run, code=code)
    assert done.stdout.startswith("OperationFailed Can't push to somebody/small: ") and "403" in done.stdout
    assert "must be allowed to write there" in done.stdout and done.stdout.count("\n") == 1
    stored = "".join(path.read_text() for path in run.rglob("*.json"))
    assert '"failed"' in stored and TOKEN not in stored + done.stdout + done.stderr


def test_what_can_not_be_pushed_is_said_before_anything_is_sent(folder, tmp_path, monkeypatch):
    with pytest.raises(InvalidInput, match=r"has no sap_manifest\.json"):
        check_push(PushSpec(folder=str(tmp_path), repo="a/b"))
    for name in ("model", "a/b/c", "a b/c", "/b"):
        with pytest.raises(InvalidInput, match="expected NAME/MODEL"):
            PushSpec.build(folder="x", repo=name)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(InvalidInput, match="No token for the Hub: set HF_TOKEN"):
        push_checkpoint(folder, "a/b")
