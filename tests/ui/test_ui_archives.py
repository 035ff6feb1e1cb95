"""A run of any size leaves and comes back through the studio's server, and neither is held in memory."""

from __future__ import annotations

import http.client
import io
import json
import os
import sys
import zipfile
from pathlib import Path

import pytest
from sample_runs import capture_run
from test_ui_access import ROOT, fetch, free_port, serving

from sap_core.runs.archive import export_archive
from sap_core.runs.reading import open_run
from sap_core.runs.store import create_run
from sap_core.specs import CaptureSpec

LARGE = 300 << 20  # bytes; both ways the server may grow by a tenth of it


def large_run(path: Path, size: int) -> None:
    """A closed run with a file of zeros that takes no room on the disk."""
    with create_run("capture", CaptureSpec.build(model="m"), out=path) as run:
        with open(run.path / "large.bin", "wb") as file:
            file.truncate(size)
        run.finish({"text": "large"})


def send(port: int, archive: Path, **headers: str) -> tuple[int, str]:
    """PUT a file as a browser does; status and answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    with open(archive, "rb") as file:
        said = {"Content-Length": str(archive.stat().st_size), "Origin": f"http://127.0.0.1:{port}"}
        connection.request("PUT", "/archives", body=file, headers={**said, **headers})
        answer = connection.getresponse()
        found = answer.status, answer.read().decode()
    connection.close()
    return found


def receive(port: int, path: str, target: Path) -> int:
    """GET into a file; the status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("GET", path)
    answer = connection.getresponse()
    with open(target, "wb") as file:
        while piece := answer.read(1 << 20):
            file.write(piece)
    connection.close()
    return answer.status


def peak_megabytes(port: int) -> int:
    """Peak of resident memory of the process that listens at a port of this machine."""
    inode = next(line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
                 if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A")  # fmt: skip
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(link) == f"socket:[{inode}]" for link in (process / "fd").iterdir()):
                status = (process / "status").read_text()
                return int(status.partition("VmHWM:")[2].split()[0]) >> 10
        except OSError:
            continue
    raise AssertionError("no server")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads the server's memory from Linux's /proc")
def test_a_large_run_leaves_and_comes_back(tmp_path: Path) -> None:
    port = free_port()
    large_run(tmp_path / "runs" / "large", LARGE)
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py"), f"--server.port={port}"]
    with serving(tmp_path, [*command, "--server.headless=true", "--server.address=127.0.0.1"], port):
        small = export_archive(capture_run(tmp_path / "other", name="small"), tmp_path / "small.zip")
        assert send(port, small)[0] == 200  # everything is imported by now
        before = peak_megabytes(port)
        assert receive(port, "/archives/large.zip", tmp_path / "large.zip") == 200
        status, answer = send(port, tmp_path / "large.zip")
        assert (status, json.loads(answer)) == (200, {"run": "large-2"})
        assert (peak_megabytes(port) - before) << 20 < LARGE / 10
        open_run(tmp_path / "runs" / "large-2").verify()

        # The gate and the archive's own checks stand before it.
        assert send(port, small, Origin="http://evil.example")[0] == 403
        assert send(port, small, Host="evil.example")[0] == 403
        assert fetch(port, "/archives/large.zip", Host="evil.example")[0] == 403
        for path in ("/archives/none.zip", "/archives/..%2flarge.zip", "/archives/%2e%2e.zip", "/archives/large.zip/x"):
            assert b"PK" not in fetch(port, path)[2]
        with zipfile.ZipFile(small, "a") as archive:
            archive.writestr(f"{archive.namelist()[0].split('/')[0]}/extra", "x")
        status, answer = send(port, small)
        assert status == 400 and answer.startswith("The archive is refused: 'extra' is not in its manifest.json")
        (tmp_path / "runs" / "large" / "result.json").write_text("{}")
        status, _, answer = fetch(port, "/archives/large.zip")
        assert (status == 409 and b"damaged" in answer) or b"truncated" in answer
        assert send(port, small, **{"Content-Length": "9" * 18})[0] == 507
        assert {path.name for path in (tmp_path / "runs").iterdir()} <= {"large", "large-2", *_ids(tmp_path)}


def _ids(folder: Path) -> set[str]:
    return {path.name for path in (folder / "runs").iterdir() if not path.name.startswith(".") and path.is_dir()}


def test_the_archive_a_page_offers_is_what_the_command_writes(tmp_path: Path) -> None:
    from sap_core.runs.archive import archive_pieces

    run = capture_run(tmp_path, name="small")
    names = zipfile.ZipFile(export_archive(run, tmp_path / "a.zip")).namelist()
    assert zipfile.ZipFile(io.BytesIO(b"".join(archive_pieces(open_run(run))))).namelist() == names
