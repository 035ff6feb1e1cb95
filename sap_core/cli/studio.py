"""``sap studio`` and ``sap demo``."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from ..access import TOKEN, is_loopback, new_token
from ..errors import InvalidInput, OperationFailed
from . import options as opt
from .console import emit, work

HOST = "127.0.0.1"
PACKAGE = Path(__file__).resolve().parents[1]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    app.command()(studio)
    demo = typer.Typer(help="The demo models and the stories they were trained on.", no_args_is_help=True)
    demo.command()(train)
    demo.command()(stories)
    app.add_typer(demo, name="demo")


def studio(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 8501,
    host: Annotated[
        str, typer.Option(help="Address to listen at; one that other machines can reach asks for a token.")
    ] = HOST,
    token: Annotated[
        bool, typer.Option("--token", help="Ask for a token, which is printed: for a machine with other users.")
    ] = False,
) -> None:
    """Open the studio in the browser, on this machine only."""
    check_port(port, host)
    alone = is_loopback(host)
    command = studio_command(port, host, headless=token or not alone)
    address = f"http://{shown_host(host)}:{port}"
    if token or not alone:
        secret = os.environ.setdefault(TOKEN, new_token())
        address = f"{address}/?token={secret}"
    print(f"Studio: {address} (Ctrl-C ends it)", file=sys.stderr, flush=True)
    os.execv(command[0], command)


def shown_host(host: str) -> str:
    """Return the host to show in an address; for a server on every interface, this machine's name."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def train(
    out: Annotated[
        str | None, typer.Option(help="Folder for the models.", show_default="where demo: looks for them")
    ] = None,
    seed: opt.Seed = None,
    as_json: opt.Json = False,
) -> None:
    """Train both demo models from scratch, one after the other; continues where it was stopped."""
    with work("train", lambda: "what is trained is kept; the same command goes on") as progress:
        folders = _training_tool()(out or demo_home(), seed=seed, progress=progress)
    document = {name: str(folder) for name, folder in folders.items()}
    emit(document, as_json, lambda: [f"{name}: {folder}" for name, folder in document.items()])


def stories(
    n: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 3,
    seed: opt.Seed = None,
    as_json: opt.Json = False,
) -> None:
    """Print stories of the demo corpus."""
    from ..stories.corpus import generate_stories

    found = generate_stories(n, seed or 0)
    rows = [{key: getattr(story, key) for key in ("text", "task", "plot", "seed")} for story in found]
    emit(rows, as_json, lambda: "\n\n".join(one["text"] for one in rows).split("\n"))


def _training_tool() -> Callable[..., dict[str, Path]]:
    """Return `train_demo` of ``tools/demo_training``, which is part of a checkout and not of the package.

    Raises:
        InvalidInput: this is an installed package without the tools.
    """
    tools = PACKAGE.parent / "tools"
    if not (tools / "demo_training" / "train.py").is_file():
        raise InvalidInput(
            "training the demo models needs a checkout of the repository (tools/demo_training), which an installed "
            "package does not have; clone the repository and run `sap demo train` there."
        )
    if str(tools) not in sys.path:
        sys.path.insert(0, str(tools))
    return import_module("demo_training.train").train_demo


def studio_command(port: int, host: str = HOST, *, headless: bool = False) -> list[str]:
    """Return the command that starts the studio.

    An installed package serves its own copy of the app, a checkout its own.
    """
    paths = (PACKAGE / "studio" / "app.py", PACKAGE.parent / "app.py")
    app = next((path for path in paths if path.is_file()), None)
    if app is None:
        raise OperationFailed(f"The studio's app.py is neither at {paths[0]} nor at {paths[1]}; reinstall sap-studio.")
    settings = {
        "server.address": host,
        "server.port": port,
        "server.showEmailPrompt": "false",
        "browser.gatherUsageStats": "false",
    }
    if headless:  # else Streamlit opens the browser at the address without the token
        settings["server.headless"] = "true"
    flags = [f"--{name}={value}" for name, value in settings.items()]
    return [sys.executable, "-m", "streamlit", "run", str(app), *flags]


def check_port(port: int, host: str = HOST) -> None:
    """Check that a port is free and the address belongs to this machine.

    Raises:
        InvalidInput: it is not.
    """
    try:
        family, _, _, _, path = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError, ValueError):
        raise InvalidInput(f"--host is '{host}'; expected an address of this machine, such as {HOST}.") from None
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(path)
        except OSError as error:
            raise InvalidInput(
                f"Port {port} of {host} can't be used ({error.strerror}); give another with --port."
            ) from None


def demo_home() -> Path:
    """Return the folder of the `demo:` models: the checkout's assets, or inside the installed package."""
    checkout = PACKAGE.parent
    return checkout / "assets" / "demo" if (checkout / "pyproject.toml").is_file() else PACKAGE / "demo" / "checkpoints"
