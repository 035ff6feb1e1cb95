"""Private APIs of Streamlit that the studio uses; `tests/test_private_apis.py` says what breaks without them."""

from __future__ import annotations

from pathlib import Path


def page_runs_without_app(main: str = "app.py") -> bool:
    """Return whether the running script is a page's file itself, without the app around it.

    Streamlit discovers the folder ``pages`` by its name until `st.navigation` has been called once in a server's life,
    so the first visitor with a deep link gets the page alone.

    Args:
        main: Name of the script that the server must have been started with.
    """
    try:
        from streamlit.runtime.pages_manager import PagesManager
        from streamlit.runtime.scriptrunner import get_script_run_ctx
    except ImportError:
        return False
    context = get_script_run_ctx()
    if context is None or not getattr(PagesManager, "uses_pages_directory", False):
        return False
    return Path(context.main_script_path).name == main
