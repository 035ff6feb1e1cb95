"""Archives of runs over the studio's server: ``GET archives/RUN.zip`` and ``PUT archives``.

Both go piece by piece between network and disk, so that a run of any size leaves and comes back in little memory;
Streamlit's own uploader and download button hold the whole file. The routes lie behind the same gate as the pages (see
`access`).
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from .byte_size import format_bytes
from .errors import OperationFailed, SapError
from .runs.archive import PIECE, archive_pieces, import_archive
from .runs.listing import is_run
from .runs.paths import runs_root
from .runs.reading import open_run
from .storage import disk_problem, storage_of
from .storage.output import Output


def archive_routes(base: str = "") -> list[Route]:
    """Return the routes; ``base``: the path that the studio is served under, such as "studio"."""
    start = f"/{base.strip('/')}" if base.strip("/") else ""
    return [
        Route(f"{start}/archives/{{run}}.zip", _send, methods=["GET"]),
        Route(f"{start}/archives", _receive, methods=["PUT"]),
    ]


def _send(request: Request) -> Response:
    """Answer with the archive of a run under the root; every file is hashed before the answer begins."""
    name = request.path_params["run"]
    root = runs_root()
    if name != Path(name).name or name.startswith(".") or "\0" in name or not is_run(root / name):
        return PlainTextResponse("There is no such run.", 404)
    try:
        chunks = archive_pieces(open_run(root / name))
        first = next(chunks)
    except SapError as error:
        return PlainTextResponse(str(error), 409)
    except OSError as error:
        return PlainTextResponse(str(disk_problem(error, root / name)), 409)
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}.zip"}
    headers |= {"cache-control": "no-store"}
    return StreamingResponse(itertools.chain([first], chunks), media_type="application/zip", headers=headers)


async def _receive(request: Request) -> Response:
    """Take an archive as the request's body and bring its run in; answer ``{"run": id}``, or one line and 4xx."""
    length = request.headers.get("content-length", "")
    if not (length.isascii() and length.isdecimal()):
        return PlainTextResponse("The archive's size must be known beforehand (Content-Length).", 411)
    try:
        with _place(int(length)) as archive:
            received, waiting = 0, bytearray()
            with open(archive, "wb") as file:
                async for chunk in request.stream():
                    received += len(chunk)
                    waiting += chunk
                    if received > int(length):
                        return PlainTextResponse("The archive is larger than was said.", 413)
                    if len(waiting) >= PIECE:
                        await run_in_threadpool(file.write, bytes(waiting))
                        waiting.clear()
                await run_in_threadpool(file.write, bytes(waiting))
            try:
                run = await run_in_threadpool(import_archive, archive)
            except SapError as error:
                return PlainTextResponse(str(error).replace(str(archive), "The archive"), 400)
    except ClientDisconnect:
        return PlainTextResponse("The upload was cut off; nothing was kept.", 400)
    except OSError as error:
        return PlainTextResponse(str(disk_problem(error, runs_root())), 507)
    except SapError as error:
        return PlainTextResponse(str(error), 507)
    return JSONResponse({"run": run.id})


@contextmanager
def _place(size: int) -> Iterator[Path]:
    """Yield a hidden file beside the runs for an upload, removed afterwards; a killed server's is listed as a leftover.

    Raises:
        OperationFailed: there is no room for ``size`` bytes.
    """
    root = runs_root()
    if storage_of(root).remote:
        with tempfile.TemporaryDirectory(prefix="sap-upload-") as folder:
            _check_room(Path(folder), size)
            yield Path(folder) / "run.zip"
        return
    with Output(root / f"upload-{uuid.uuid4().hex[:12]}.zip", folder=False) as output:
        _check_room(output.part.parent, size)
        yield output.part


def _check_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OperationFailed(
            f"The archive has {format_bytes(size)}, {folder} has {format_bytes(free)} free; free some space."
        )
