"""The command line, ``sap``: every page's action as a command.

Results go to standard output (``--json``: one document and nothing else), everything else to standard error.
Exit status: 0 done, 1 failed or cancelled, 2 wrong use.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import typer

from .._version import __version__
from ..errors import Cancelled, InvalidInput, SapError
from ..file_locks import check_platform
from . import (
    analyze,
    capture,
    elastic,
    evaluate,
    figures,
    models,
    prune,
    push,
    runs,
    studio,
    sweep,
    tradeoff,
)

# What the system says of a path that can't be one, wherever that shows first.
WRONG_PATH = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ENXIO)
UsageError: Any = typer.BadParameter.__mro__[1]  # click's own or typer's copy of it, depending on typer's version

app = typer.Typer(
    name="sap",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit()


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", help="Print the version and stop.", is_eager=True, callback=_version
    ),
) -> None:
    """See attention sinks move through a denoising run, prune what is unstable, take home a checkpoint."""


for room in (studio, models, capture, analyze, figures, prune, elastic, push, evaluate, sweep, tradeoff, runs):
    room.register(app)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that can't show a character shows '?'
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return _run(argv)


def _run(argv: Sequence[str] | None) -> int:
    try:
        check_platform()
        status = app(args=list(argv) if argv is not None else None, prog_name="sap", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except typer.Exit as stop:
        return stop.exit_code
    except UsageError as error:
        return _wrong_use(error)
    except InvalidInput as error:
        return _complain(error, 2)
    except (Cancelled, KeyboardInterrupt, typer.Abort) as error:
        return _complain(str(error) or "Cancelled.", 1)
    except SapError as error:
        return _complain(error, 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has seen enough
        return 1
    except OSError as error:
        if error.errno not in WRONG_PATH:
            return _unexpected(error)
        name = ascii(str(error.filename))[1:-1]
        return _complain(f"{name[:100]} is no usable path ({error.strerror}); give another.", 2)
    except Exception as error:
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    if os.environ.get("SAP_TRACEBACK"):
        raise error
    from ..runs.store import one_line

    return _complain(f"Unexpected: {one_line(error)} (SAP_TRACEBACK=1 shows where.)", 1)


def _wrong_use(error: Any) -> int:
    """Return one line for a wrong option; the help itself for a command without its subcommand."""
    message = error.format_message()
    if "\n" in message:
        print(message, file=sys.stderr)
        return 2
    where = f" See `{error.ctx.command_path} --help`." if getattr(error, "ctx", None) else ""
    return _complain(message.rstrip(".") + "." + where, 2)


def _show_warning(message: Warning | str, *_: Any) -> None:
    print(f"sap: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _complain(message: object, status: int) -> int:
    print(f"sap: {' '.join(str(message).split())}", file=sys.stderr)
    return status
