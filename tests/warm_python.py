"""An interpreter that starts quickly: forked from a process that has imported the large libraries, and nothing else.

``python warm_python.py serve SOCKET`` preloads and waits. The script that `write_launcher` makes is used in place of
``sys.executable``: it hands its arguments, environment, working folder and standard streams to the server, forwards
signals, and ends as the forked process does. If it is killed, so is the forked process.

transformers and huggingface_hub read the environment when they are imported: a process whose environment differs in
that imports them again.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PRELOADED = (
    "torch", "torch._dynamo", "torch.distributed.tensor", "torch.distributed.fsdp", "torch.export", "scipy.optimize",
    "safetensors.torch", "tokenizers", "numpy", "pandas", "pydantic", "xarray", "zarr", "typer", "jinja2", "regex",
    "transformers.models.llama.modeling_llama", "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto", "transformers.generation.utils",
)  # fmt: skip
READ_AT_IMPORT = ("HF_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_TOKEN", "XDG_CACHE_HOME")
READERS = ("transformers", "huggingface_hub", "accelerate")
QUIET = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}  # as the command line sets them
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

LAUNCHER = """#!{python} -IS
import json, os, signal, socket, sys
link = socket.socket(socket.AF_UNIX)
link.connect({path!r})
for number in {forwarded!r}:
    signal.signal(number, lambda number, frame: link.send(bytes([number])))
asked = json.dumps({{"argv": sys.argv, "environment": dict(os.environ), "folder": os.getcwd()}}).encode()
socket.send_fds(link, [len(asked).to_bytes(4, "big")], [0, 1, 2])
link.sendall(asked)
code = int.from_bytes(link.recv(4), "big", signed=True)
if code < 0:
    if -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


def write_launcher(path: Path, server: str) -> Path:
    """Write the script that stands for ``sys.executable``."""
    forwarded = tuple(map(int, FORWARDED))
    path.write_text(LAUNCHER.format(python=sys.executable, path=server, forwarded=forwarded))
    path.chmod(0o755)
    return path


@contextlib.contextmanager
def warm_interpreter(folder: Path) -> Iterator[str]:
    """Yield the path of a quick interpreter, or of this one where the system lacks what it takes."""
    if not hasattr(os, "pidfd_open") or len(sys.executable) > 200:  # no Linux; too long for a script's first line
        yield sys.executable
        return
    address = str(folder / "socket")
    command = [sys.executable, __file__, "serve", address]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | QUIET)
    try:
        assert server.stdout is not None and server.stdout.readline() == b"ready\n"
        yield str(write_launcher(folder / "python", address))
    finally:
        server.kill()
        server.wait()


def serve(address: str) -> list[str]:
    """Fork a process for every request; return in the forked one, with its arguments."""
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            __import__(name)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(16)
    print("ready", flush=True)
    parent = os.getppid()
    while os.getppid() == parent:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not select.select([listening], [], [], 1.0)[0]:
            continue
        link, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            return _answer(link)
        link.close()
    os._exit(0)


def _answer(link: socket.socket) -> list[str]:
    """Start what is asked and tell how it ended; return in the started process."""
    size, streams, _, _ = socket.recv_fds(link, 4, 3)
    text = b""
    while len(text) < int.from_bytes(size, "big"):
        text += link.recv(1 << 16)
    asked = json.loads(text)
    child = os.fork()
    if child == 0:
        link.close()
        os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        sys.stdin, sys.stdout, sys.stderr = open(0, closefd=False), open(1, "w", closefd=False), _errors()
        sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
        os.chdir(asked["folder"])
        _change_environment(asked["environment"])
        sys.executable, *words = asked["argv"]  # what this process starts is quick, too
        return words
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(child)
    while True:
        ready, _, _ = select.select([ended, link], [], [])
        if link in ready:
            heard = link.recv(1)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, heard[0] if heard else signal.SIGKILL)
        if ended in ready or (link in ready and not heard):
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            with contextlib.suppress(OSError):
                link.sendall(code.to_bytes(4, "big", signed=True))
            os._exit(0)


def _change_environment(environment: dict[str, str]) -> None:
    """Replace the environment, also where a preloaded module has read it."""
    before = [os.environ.get(name) for name in READ_AT_IMPORT]
    os.environ.clear()
    os.environ.update(environment)
    if before != [os.environ.get(name) for name in READ_AT_IMPORT]:
        for name in [name for name in sys.modules if name.partition(".")[0] in READERS]:
            del sys.modules[name]
    elif "HF_MODULES_CACHE" in environment:
        for name in ("transformers.utils.hub", "transformers.utils", "transformers.dynamic_module_utils"):
            if name in sys.modules:
                sys.modules[name].HF_MODULES_CACHE = environment["HF_MODULES_CACHE"]


def _errors():
    return open(2, "w", buffering=1, closefd=False, errors="backslashreplace")


def run_as_python(words: list[str]) -> None:
    """Do what ``python`` does with these arguments: -P, -W, and one of -c, -m and a script."""
    import runpy

    safe = False
    while words[0] in ("-P", "-W"):
        safe |= words[0] == "-P"
        words = words[2 if words[0] == "-W" else 1 :]
    sys.path[0] = ""  # of this script
    sys.path[1:1] = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
    kind, *rest = words
    if kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})
    elif kind == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = words
        if safe:
            del sys.path[0]
        else:
            sys.path[0] = str(Path(kind).parent.absolute())
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    run_as_python(serve(sys.argv[2]))
