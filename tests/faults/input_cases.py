"""Bad options, and bad files of other kinds: prompts, texts, token ids, runs, places to write to; and pages."""

# ruff: noqa: E501 (one case a line)

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from fork_runner import Case

PAGES = Path(__file__).parents[2] / "pages"
CAPTURE = ["capture", "--length", 12, "--steps", 2, "--out", "out", "--model"]
PRUNE = ["prune", "--method", "wanda", "--samples", 2, "--no-verify", "--out", "out", "--model"]
EVALUATE = ["evaluate", "--samples", 1, "--draws", 1, "--generate", 0, "--model"]


def input_cases(base: Path, run: Path) -> Iterator[Case]:
    """Cases around a sound model ``base`` and a sound capture run ``run``."""
    for words in _options():
        yield Case(f"option: {' '.join(map(str, words))[:70]}", "option", partial(_option, base, words))
    for name, content in _prompts().items():
        yield Case(f"prompts: {name}", "prompts file", partial(_file, base, CAPTURE, "--prompts", name, content))
    for name, content in _texts().items():
        for words, option in ((EVALUATE, "--text"), (PRUNE, "--calibration")):
            case = f"text: {words[0]}: {name}"
            yield Case(case, "text file", partial(_file, base, words, option, f"{name}.txt", content))
    for name, content in _arrays().items():
        prepare = partial(_file, base, PRUNE, "--calibration", f"{name}.npy", content)
        yield Case(f"ids: {name}", ".npy of token ids", prepare)
    for name, place in _places().items():
        for words in (CAPTURE, PRUNE):
            yield Case(f"place: {words[0]}: {name}", "place to write to", partial(_place, base, words, place), (1, 2))
    for file, name, text in documents():
        for command in (["runs", "list"], ["runs", "show", "bad"], ["heads", "bad"], ["sinks", "bad"]):
            allowed = (0,) if command == ["runs", "list"] else (0, 1, 2)
            case = f"{' '.join(command)}: {file}: {name}"
            yield Case(case, "run document", partial(_document, run, file, text, command), allowed)
        page = ("runs", "sinks", "compare")[len(name) % 3]
        yield Case(f"page {page}: {file}: {name}", "page", partial(_page, run, file, text, page), (0,))
    for page, name, address in _addresses():
        yield Case(f"page {page}: {name}", "page", partial(_page, run, None, b"", page, address), (0,))


def _options() -> Iterator[list[Any]]:
    numbers = [-1, 0, 10**12, 10**30, "9" * 5000, "x", "nan", "inf", "1e400", "", "1.5", "0x10", "٣x"]
    for option in ("--length", "--steps", "--block-length", "--query-stride"):
        yield from ([*CAPTURE, "model", option, number] for number in numbers)
    for option in ("--seed", "--mask-token-id"):
        yield from ([*CAPTURE, "model", option, number] for number in (-1, 10**12, 2**63, "x", "1.5", "9" * 5000))
    for option in ("--samples", "--calibration-length", "--noise-levels"):
        yield from ([*PRUNE, "model", option, number] for number in (-1, 0, 10**12, "x", "1.5"))
    yield from ([*PRUNE, "model", "--sparsity", number] for number in (-0.1, 1, "nan", "inf", "x", ""))
    for option in ("--draws", "--samples"):
        yield from ([*EVALUATE, "model", option, number] for number in (-1, 0, 10**12, "x"))
    for model in (
        "",
        " ",
        "/",
        "/dev/null",
        "nowhere/at/all",
        "a\0b",
        "\udcff",
        "~nobody/x",
        "x" * 5000,
        "../../..",
        "demo:",
    ):
        yield from ([*words, model] for words in (CAPTURE, PRUNE, EVALUATE))
        yield ["models", model]
    for run in ("nowhere", "/", "/dev/null", "a\0b", "\udcff", "x" * 5000, ".."):
        yield from ([*words, run] for words in (["heads"], ["sinks"], ["runs", "show"], ["report"], ["verify"]))
    for archive in ("nowhere.zip", "/dev/null", "a\0b", "/"):
        yield ["runs", "import", archive]
    for value in ("evil", "", "\0", "__import__", "a" * 5000):
        yield from (
            [*CAPTURE, "model", option, value] for option in ("--sampler", "--dtype", "--device", "--precision")
        )
        yield from ([*PRUNE, "model", option, value] for option in ("--method", "--pattern", "--allocation", "--order"))


def _option(base: Path, words: list[Any], folder: Path) -> list[Any]:
    shutil.copytree(base, folder / "model")
    return words


Content = bytes | str | Callable[[Path], None] | None


def _prompts() -> dict[str, Content]:
    found: dict[str, Content] = dict(_common("jsonl"))
    lines = {
        "number": "7",
        "list": "[1]",
        "nested": "[" * 9999,
        "other": '{"a": 1}',
        "null": '{"prompt": null}',
        "half": '{"pro',
    }
    return (
        found | {f"{name}.jsonl": text for name, text in lines.items()} | {"many.txt": "a\n" * 20_000, "csv.csv": "a"}
    )


def _texts() -> dict[str, Content]:
    return {name.removesuffix(".txt"): content for name, content in _common("txt").items()} | {"blank": " \n"}


def _common(ending: str) -> dict[str, Content]:
    return {
        f"missing.{ending}": None,
        f"empty.{ending}": b"",
        f"bytes.{ending}": bytes(range(256)),
        f"utf16.{ending}": "text".encode("utf-16"),
        f"folder.{ending}": Path.mkdir,
        f"pipe.{ending}": os.mkfifo,
        f"loop.{ending}": lambda path: path.symlink_to(path.name),
        f"device.{ending}": lambda path: path.symlink_to("/dev/zero"),
        f"huge.{ending}": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), 2 << 30),
    }


def _arrays() -> dict[str, Content]:
    def header(text: str, body: bytes = b"") -> bytes:
        raw = text.encode().ljust(118) + b"\n"
        return b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw + body

    shapes = ["(10**12, 8)", "(1000000000000, 8)", "(-1, 8)", "(2, 8)", "'x'", "()", "(2.5,)", "(" * 60 + ")" * 60]
    found: dict[str, Content] = {name.removesuffix(".npy"): content for name, content in _common("npy").items()}
    found |= {
        f"shape {n}": header(f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}")
        for n, shape in enumerate(shapes)
    }
    for n, dtype in enumerate(("'|O'", "'<U9'", "'<f8'", "'<i4'", "'evil'", "[('a', '<i8')]", "7", "'<i8,<i8'")):
        found[f"dtype {n}"] = header(f"{{'descr': {dtype}, 'fortran_order': False, 'shape': (1, 2), }}", bytes(16))
    found |= {"a pickle": b"\x80\x04K\x07.", "no magic": b"hello", "version 9": b"\x93NUMPY\x09\x00\x00\x00"}
    for n, values in enumerate((b"\xff" * 16, (96).to_bytes(8, "little") * 2)):
        found[f"ids {n}"] = header("{'descr': '<i8', 'fortran_order': False, 'shape': (1, 2), }", values)
    return found


def _file(base: Path, words: list[Any], option: str, name: str, content: Content, folder: Path) -> list[Any]:
    shutil.copytree(base, folder / "model")
    path = folder / name
    if callable(content):
        content(path)
    elif content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [*words, "model", option, name]


def _places() -> dict[str, str]:
    return {
        "a file": "model/config.json", "below a file": "model/config.json/x", "a device": "/dev/null",
        "a NUL": "a\0b", "too long": "x" * 300, "no Unicode": "\udcff", "the model": "model", "proc": "/proc/x/out",
        "an unknown address": "evil://bucket/x", "a pipe": "pipe", "nothing": "", "a dangling link": "dangling",
    }  # fmt: skip


def _place(base: Path, words: list[Any], place: str, folder: Path) -> list[Any]:
    shutil.copytree(base, folder / "model")
    os.mkfifo(folder / "pipe")
    (folder / "dangling").symlink_to("/proc/nowhere")
    return [*(place if word == "out" else word for word in words), "model"]


def documents() -> Iterator[tuple[str, str, bytes]]:
    """(file of a run, what is wrong, content)."""
    texts = {
        "empty": b"", "a list": b"[]", "a number": b"7", "null": b"null", "half": b'{"a": ', "bytes": bytes(range(256)),
        "nested": b"[" * 99999, "wrong types": b'{"kind": 7, "schema": "x", "state": [], "created": {}, "files": 7, "tags": 7}',
        "an unknown kind": b'{"kind": "evil", "model": 7}', "a long number": b'{"schema": ' + b"9" * 6000 + b"}",
    }  # fmt: skip
    for file in ("spec.json", "manifest.json", "meta.json", "result.json"):
        for name, text in texts.items():
            yield file, name, text


def _document(run: Path, file: str, text: bytes, command: list[str], folder: Path) -> list[Any]:
    _damaged(run, file, text, folder)
    return command


def _damaged(run: Path, file: str | None, text: bytes, folder: Path) -> None:
    shutil.copytree(run, folder / "runs" / "good")
    shutil.copytree(run, folder / "runs" / "bad")
    if file is not None:
        (folder / "runs" / "bad" / file).write_bytes(text)


def _addresses() -> Iterator[tuple[str, str, dict[str, str]]]:
    values = ["nowhere", "../../etc", "a\0b", "x" * 5000, "<script>", "-1", "1e400", ""]
    for page in ("capture", "sinks", "heads", "compare", "prune", "tradeoff", "export", "runs", "start"):
        for value in values:
            yield (
                page,
                f"everything is {value[:12]!r}",
                dict.fromkeys(("model", "run", "a", "b", "layer", "step"), value),
            )


def _page(run: Path, file: str | None, text: bytes, page: str, *rest: Any) -> Callable[[], int]:
    address, folder = (rest[0] if len(rest) == 2 else {"run": "bad", "a": "bad", "b": "good"}), rest[-1]
    _damaged(run, file, text, folder)
    return partial(_visit, page, address)


def _visit(page: str, address: dict[str, str]) -> int:
    """Run a page as a visitor's browser makes it run, with a client that starts no worker; 1 where it raised."""
    import sys

    import streamlit.testing.v1

    sys.path.insert(0, str(PAGES.parent / "tests" / "pages"))
    from conftest import FakeClient

    import sap_core.ui.widgets.jobs
    import sap_core.ui.widgets.layout

    fake = FakeClient()
    for module in (sap_core.ui.widgets.jobs, sap_core.ui.widgets.layout):
        module.client = lambda: fake
    at = streamlit.testing.v1.AppTest.from_file(str(PAGES / f"{page}.py"), default_timeout=100)
    for name, value in address.items():
        at.query_params[name] = value
    at.run()
    for problem in at.exception:
        print(f"sap: {page}: {json.dumps(problem.message)}", file=sys.stderr)
    return 1 if at.exception else 0
