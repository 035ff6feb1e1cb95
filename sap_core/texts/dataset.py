"""Texts of a Hub data set, or of a folder that `datasets` reads; extra [datasets]. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from ..errors import InvalidInput

PREFIX = "dataset:"
_SHUFFLED = 1000  # rows among which the order is drawn
_ROWS_AT_MOST = 100_000


def check_dataset(source: str, use: str = "calibration") -> None:
    """Check "dataset:NAME" as far as possible without asking the Hub.

    Raises:
        InvalidInput: no name, or `datasets` is not installed.
    """
    if not source.removeprefix(PREFIX).strip():
        raise InvalidInput(f"{use} is '{source}'; expected {PREFIX}NAME, a Hub id or a folder of parquet files.")
    if find_spec("datasets") is None:
        raise InvalidInput(f"{use} '{source}' needs the datasets package: pip install 'sap-studio[datasets]'.")


def dataset_texts(
    source: str, *, seed: int | None, subset: str | None = None, split: str = "train", column: str = "text"
) -> Iterator[str]:
    """Yield the texts of a data set, including blank ones, in an order drawn by ``seed`` (None: its own).

    Only as many rows are fetched as are used.

    Raises:
        InvalidInput: no such data set, configuration, split or column; a column that holds no text.
    """
    name = source.removeprefix(PREFIX)
    rows = _open(name, subset, split)
    if rows.column_names is not None and column not in rows.column_names:
        raise InvalidInput(f"data set '{name}' has the columns {', '.join(rows.column_names)}, not '{column}'.")
    rows = rows if seed is None else rows.shuffle(seed=seed, buffer_size=_SHUFFLED)
    for record in rows.take(_ROWS_AT_MOST):
        text = record.get(column)
        if not isinstance(text, str):
            kind = type(text).__name__
            raise InvalidInput(
                f"column '{column}' of data set '{name}' holds {kind}; expected text (of {', '.join(record)})."
            )
        yield text


def _open(name: str, subset: str | None, split: str) -> Any:
    import datasets

    datasets.disable_progress_bars()
    # Until version 4 a data set could bring a script, and unless told otherwise its loader asked on standard input.
    consent = {"trust_remote_code": False} if int(datasets.__version__.partition(".")[0]) < 4 else {}
    try:
        return datasets.load_dataset(name, subset, split=split, streaming=True, **consent)
    except ValueError as error:  # an unknown split or configuration; the message lists the known ones
        raise InvalidInput(f"data set '{name}': {' '.join(str(error).split())[:300]}") from None
    except Exception as error:  # the Hub's, the file system's and the parsers' own kinds of complaint
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise InvalidInput(
            f"data set '{name}' can't be read ({reason}); give a Hub id that is in reach, or a folder of parquet files."
        ) from None
