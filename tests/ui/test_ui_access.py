"""Who is let in to the studio: host names, origins, frames, and one token where others can reach it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sap_core.access import TOKEN, Access, Gate, access_for, is_loopback

ROOT = Path(__file__).parents[2]


def ask(access: Access, path: str = "/", *, kind: str = "http", method: str = "GET", **headers: str) -> dict[str, Any]:
    """What the gate answers: status, headers, and whether the app behind it was reached."""
    reached = []
    sent: list[dict[str, Any]] = []

    async def inner(scope, receive, send):
        reached.append(scope["path"])
        if kind == "http":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Frame-Options", b"ALLOWALL")]})
            await send({"type": "http.response.body", "body": b"page"})
        else:
            await send({"type": "websocket.accept"})

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    bare, _, query = path.partition("?")
    headers = {"host": "127.0.0.1:8501", **headers}
    scope = {
        "type": kind, "path": bare, "query_string": query.encode(), "server": ("127.0.0.1", 8501), "method": method,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
    }  # fmt: skip
    with ThreadPoolExecutor(1) as apart:  # a browser test before this one may have left a loop running in this thread
        apart.submit(asyncio.run, Gate(inner, access)(scope, receive, send)).result()
    found = {name.decode().lower(): value.decode() for name, value in sent[0].get("headers", [])}
    return {"status": sent[0].get("status"), "headers": found, "reached": bool(reached), "type": sent[0]["type"]}


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8501", "localhost:8501", "LOCALHOST", "[::1]:8501", "localhost.", "127.0.0.2"]
)
def test_names_of_this_machine(host: str) -> None:
    assert ask(Access(), host=host)["reached"]


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8501", "127.0.0.1.evil.example", "user@127.0.0.1", "127.0.0.1/x", "", "a b",
     "192.168.0.7", "localhost:notaport", "127.0.0.1:99999", "localhost#", "[::1", "0.0.0.0"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_any_other_name_is_refused(host: str, kind: str) -> None:
    found = ask(Access(), host=host, kind=kind)
    assert not found["reached"] and (found["status"] == 403 or found["type"] == "websocket.close")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "file://", "http://localhost:8501"]
)
def test_a_page_of_another_site_can_neither_connect_nor_change(origin: str) -> None:
    assert not ask(Access(), kind="websocket", origin=origin)["reached"]
    for method in ("PUT", "POST", "DELETE"):
        assert not ask(Access(), method=method, origin=origin)["reached"]
    assert ask(Access(), kind="websocket", origin="http://127.0.0.1:8501")["reached"]
    assert ask(Access(), method="PUT", origin="http://127.0.0.1:8501")["reached"]


def test_no_other_site_may_frame_it() -> None:
    for found in (ask(Access()), ask(Access(), host="evil.example")):
        assert found["headers"]["x-frame-options"] == "SAMEORIGIN"
        assert found["headers"]["content-security-policy"] == "frame-ancestors 'self'"


def test_one_token_then_a_cookie() -> None:
    access = Access(token="secret")
    for path in ("/", "/runs?run=a", "/media/x", "/?token=", "/?token=wrong", "/?token=secre"):
        assert ask(access, path)["status"] == 403
    assert not ask(access, "/_stcore/stream", kind="websocket")["reached"]
    assert not ask(access, "/_stcore/stream?token=secret", kind="websocket")["reached"]  # a page's address alone
    found = ask(access, "/runs?run=a%20b&token=secret")
    assert (found["status"], found["headers"]["location"]) == (303, "/runs?run=a+b")
    cookie = found["headers"]["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    pair = cookie.partition(";")[0]
    assert ask(access, "/runs", cookie=pair)["reached"]
    assert ask(access, "/_stcore/stream", kind="websocket", cookie=f"other=1; {pair}")["reached"]
    assert not ask(access, "/runs", cookie=pair[:-1])["reached"]
    assert ask(access, "//evil.example/?token=secret")["headers"]["location"] == "/evil.example/"
    assert ask(access, "/_stcore/health")["reached"]


def test_who_needs_a_token(capsys: pytest.CaptureFixture) -> None:
    assert access_for("127.0.0.1", {}) == Access()
    assert access_for("localhost", {TOKEN: "x"}).token == "x"
    for address in ("0.0.0.0", "", None, "::", "192.168.0.7"):
        access = access_for(address, {"SAP_STUDIO_HOSTS": "Lab.example"})
        assert len(access.token) >= 24 and access.token in capsys.readouterr().err
        assert ask(access, "/_stcore/health", host="lab.example")["reached"]
        assert not ask(access, "/_stcore/health", host="evil.example")["reached"]
    assert is_loopback("::1") and is_loopback("127.1.2.3") and not is_loopback("10.0.0.1") and not is_loopback("evil")


@contextlib.contextmanager
def serving(folder: Path, command: list[str], port: int, **environment: str) -> Iterator[Path]:
    """A real server until the block ends; the file of what it printed."""
    log = folder / "server.log"
    settings = {"SAP_RUNS": str(folder / "runs"), "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    with open(log, "wb") as out:
        server = subprocess.Popen(
            command, cwd=folder, stdout=out, stderr=out, env={**os.environ, **settings, **environment}
        )
    try:
        until = time.monotonic() + 120
        while time.monotonic() < until and server.poll() is None:
            with contextlib.suppress(OSError):
                if fetch(port, "/_stcore/health")[0] == 200:
                    break
            time.sleep(0.2)
        assert server.poll() is None, log.read_text()
        yield log
    finally:
        server.terminate()
        server.wait(30)


def fetch(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    connection.close()
    return found


def handshake(port: int, **headers: str) -> int:
    """The status of a websocket's opening."""
    asked = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    asked |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "streamlit"}
    lines = [f"{name}: {value}" for name, value in {"Host": f"127.0.0.1:{port}", **asked, **headers}.items()]
    with socket.create_connection(("127.0.0.1", port), 20) as line:
        line.sendall(("GET /_stcore/stream HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode())
        return int(line.recv(4096).split()[1])


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_plain_studio_lets_this_machine_in_and_no_other_name(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), f"--server.port={port}"]
    with serving(tmp_path, [*command, "--server.headless=true"], port):
        status, headers, body = fetch(port, "/")
        assert status == 200 and b"<title>Streamlit" in body
        assert headers["content-security-policy"] == "frame-ancestors 'self'"
        assert fetch(port, "/", Host=f"evil.example:{port}")[0] == 403
        assert handshake(port, Origin=f"http://127.0.0.1:{port}") == 101
        assert handshake(port, Origin="http://evil.example") == 403
        assert handshake(port, Origin=f"http://evil.example:{port}", Host=f"evil.example:{port}") == 403


@pytest.mark.slow
def test_sap_studio_with_a_token(tmp_path: Path) -> None:
    port = free_port()
    code = "import sys; from sap_core.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "studio", "--port", str(port), "--token"]
    with serving(tmp_path, command, port) as log:
        address = re.search(rf"Studio: http://127\.0\.0\.1:{port}(/\?token=\S+)", log.read_text())
        assert fetch(port, "/")[0] == 403 and handshake(port) == 403
        status, headers, _ = fetch(port, address[1])
        assert status == 303 and headers["location"] == "/"
        cookie = headers["set-cookie"].partition(";")[0]
        assert fetch(port, "/", Cookie=cookie)[0] == 200 and handshake(port, Cookie=cookie) == 101
