"""Reading a page in a test."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest


def words(at: AppTest) -> str:
    """All that a page says, in one string."""
    kinds = ("title", "subheader", "caption", "markdown", "info", "warning", "error", "success", "code", "text")
    return "\n".join(str(item.value) for kind in kinds for item in at.get(kind))
