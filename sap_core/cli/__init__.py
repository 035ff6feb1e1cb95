"""The command line, ``sap``: every page's action as a command.

Results go to standard output (``--json``: one document and nothing else), everything else to standard error. Exit
status: 0 success, 1 failed, 2 invalid use, 130, 143 or 129 stopped by SIGINT, SIGTERM or SIGHUP.
"""

from __future__ import annotations

import contextlib
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
from ..resources import is_full, is_out_of_memory, memory_problem
from . import (
    ablate,
    analyze,
    capture,
    elastic,
    evaluate,
    figures,
    heal,
    models,
    prune,
    push,
    runs,
    studio,
    sweep,
    tradeoff,
)
from .console import VisibleStream
from .signals import STOP

# What the system says of a path that can't be one, wherever that shows first.
WRONG_PATH = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ENXIO)
REFUSED_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
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


for room in (
    studio, models, capture, analyze, figures, ablate, prune, heal, elastic, push, evaluate, sweep, tradeoff, runs,
):  # fmt: skip
    room.register(app)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that can't show a character shows '?'
    out: Any = VisibleStream(sys.stdout)
    err: Any = VisibleStream(sys.stderr)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.showwarning = _show_warning
        with STOP.listening():
            return _flushed(_run(argv))


def _run(argv: Sequence[str] | None) -> int:
    try:
        check_platform()
        status = app(args=list(argv) if argv is not None else None, prog_name="sap", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except typer.Exit as stop:
        return stop.exit_code
    except UsageError as error:
        return _wrong_use(error)
    except InvalidInput as error:
        return _complain(error, 2)
    except (Cancelled, KeyboardInterrupt, typer.Abort) as error:
        return _stopped(error)
    except SapError as error:
        return _complain(error, 1)
    except BrokenPipeError:
        _discard_output()
        return 1
    except OSError as error:
        return _system_error(error)
    except Exception as error:
        return _unexpected(error)


def _stopped(error: BaseException) -> int:
    told = str(error) or (f"Stopped by {STOP.name}." if STOP.number else "Cancelled.")
    return _complain(told, STOP.exit_status if STOP.number else 1)


def _system_error(error: OSError) -> int:
    """Print one line on an error of the operating system: of standard output, of a path, or unexpected."""
    if error.filename is None and error.errno in REFUSED_OUTPUT:
        return _output_refused(error)
    if error.errno not in WRONG_PATH:
        return _unexpected(error)
    name = ascii(str(error.filename))[1:-1]
    return _complain(f"{name[:100]} is no usable path ({error.strerror}); give another.", 2)


def _flushed(status: int) -> int:
    """Write what is still buffered; a result that can't be written is a failure, whatever came before."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough
        _discard_output()
        return status or 1
    except OSError as error:
        return _output_refused(error)
    except ValueError:  # closed, by whoever called
        return status
    return status


def _output_refused(error: OSError) -> int:
    _discard_output()
    return _complain(f"The result can't be written to standard output ({error.strerror}); nothing else went wrong.", 1)


def _discard_output() -> None:
    """Let what is buffered go nowhere, so that Python does not try it again at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unexpected(error: Exception) -> int:
    if os.environ.get("SAP_TRACEBACK"):
        raise error
    if is_out_of_memory(error):
        return _complain(memory_problem(error), 1)
    if is_full(error):
        from ..storage import disk_problem

        return _complain(disk_problem(error, getattr(error, "filename", None) or "a result"), 1)
    from ..runs.store import one_line

    return _complain(f"Unexpected: {one_line(error)} (SAP_TRACEBACK=1 shows where.)", 1)


def _wrong_use(error: Any) -> int:
    """Print one line on a wrong option, or the help of a command without its subcommand; return the exit status."""
    message = error.format_message()
    if "\n" in message:
        print(message, file=sys.stderr)
        return 2
    where = f" See `{error.ctx.command_path} --help`." if getattr(error, "ctx", None) else ""
    return _complain(message.rstrip(".") + "." + where, 2)


def _show_warning(message: Warning | str, *_: Any) -> None:
    print(f"sap: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _complain(message: object, status: int) -> int:
    with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
        print(f"sap: {' '.join(str(message).split())}", file=sys.stderr, flush=True)
    return status
