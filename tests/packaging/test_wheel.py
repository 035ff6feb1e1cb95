"""What a user installs: wheel and sdist are built, and the wheel is used in an environment that has no checkout."""

from __future__ import annotations

import email.parser
import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
import tarfile
import time
import tomllib
import urllib.request
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
pytest.importorskip("build")
pytest.importorskip("hatchling")


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    """A folder with the sdist, and the wheel built from it: what the sdist lacks, the wheel lacks too."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture(scope="module")
def wheel(dist) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """Python of a fresh environment with the wheel. Its dependencies are those of the environment that runs the tests,
    whose own installation of the package is out of sight: a path in a .pth file has no .pth files of its own."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = ["install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *install], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def run(python: Path, *arguments: str, cwd: Path) -> str:
    """Standard output of a process that knows nothing of the checkout."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_sdist_holds_everything_the_repository_needs(dist):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    wanted = {"Makefile", "constraints.txt", "CONTRIBUTING.md", "LICENSE", "app.py"}
    wanted |= {".streamlit/config.toml", "tests/conftest.py", "docs/guide.md", "benchmarks/capture.py"}
    assert wanted <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith((".venv", "build/", "runs/"))]


def test_the_wheel_holds_types_pages_settings_and_models(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    source = {str(path.relative_to(ROOT)) for path in (ROOT / "sap_core").rglob("*") if path.is_file()}
    assert {name for name in source if "__pycache__" not in name} <= names
    assert {f"sap_core/studio/pages/{path.name}" for path in (ROOT / "pages").glob("*.py")} <= names
    assert {"sap_core/studio/app.py", "sap_core/studio/.streamlit/config.toml", "sap_core/py.typed"} <= names
    assert len([name for name in names if name.endswith("/model.safetensors")]) == 2
    assert not [name for name in names if name.endswith((".pyc", ".part"))]


def test_the_description_links_from_anywhere(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        message = email.parser.Parser().parsestr(archive.read(path).decode())
    text = str(message.get_payload())
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links and [link for link in links if not link.startswith("https://")] == []
    assert text.startswith("# Sink-Aware Pruning Studio")
    assert "The guide goes through it page by page" in " ".join(text.split())
    assert "Programming Language :: Python :: 3.13" in message.get_all("Classifier")


def test_the_installed_package_is_complete(installed, tmp_path):
    code = """
import json, sap_core
from importlib.metadata import distribution
from pathlib import Path
for name in sap_core.__all__:
    getattr(sap_core, name)
print(json.dumps({"file": sap_core.__file__, "typed": Path(sap_core.__file__).with_name("py.typed").is_file()}))
"""
    facts = json.loads(run(installed, "-c", code, cwd=tmp_path))
    assert Path(facts["file"]).is_relative_to(installed.parents[1]) and facts["typed"]


def test_the_installed_command_line_runs_its_demo_models(installed, tmp_path):
    flags = ["--length", "24", "--steps", "4", "--seed", "0", "--prompt", "once there was a", "--out", "run", "--json"]
    capture = ["-m", "sap_core.cli", "capture", "--model", "demo:stories-diffusion", *flags]
    assert json.loads(run(installed, *capture, cwd=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    code = "import sap_core as sap; print(sap.inspect_model('demo:stories-ar').objective)"
    assert run(installed, "-c", code, cwd=tmp_path).strip() == "autoregressive"


def test_the_installed_studio_has_its_theme_and_settings(installed, tmp_path):
    """The first message of the server to a browser carries both."""
    from streamlit.proto.BackMsg_pb2 import BackMsg
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
    from websockets.sync.client import connect

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(installed), "-m", "sap_core.cli", "studio", "--port", str(port)]
    with open(tmp_path / "log", "wb") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/_stcore/health", server)
        with connect(f"ws://127.0.0.1:{port}/_stcore/stream", subprotocols=["streamlit"]) as socket_:  # type: ignore
            socket_.send(BackMsg(rerun_script={}).SerializeToString())
            while True:
                message = ForwardMsg.FromString(socket_.recv(timeout=60))
                if message.WhichOneof("type") == "new_session":
                    break
    finally:
        server.terminate()
        server.wait(timeout=30)
    settings = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    session = message.new_session
    assert session.custom_theme.light.primary_color == settings["theme"]["light"]["primaryColor"]
    assert session.custom_theme.dark.background_color == settings["theme"]["dark"]["backgroundColor"]
    assert session.config.toolbar_mode == session.config.ToolbarMode.Value("VIEWER")  # no Deploy button
    assert session.config.gather_usage_stats is False


def wait_for(address: str, server: subprocess.Popen) -> None:
    """Return when ``address`` answers."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert server.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the server did not answer within a minute")
