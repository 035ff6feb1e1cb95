"""Names, tags, prompts, tokens and models of a run are shown as text: no picture, link, colour, formula or icon."""

from __future__ import annotations

import json
import re

import pytest
from chosen import mostly_slow
from sample_runs import capture_run, export_run, prune_run, sweep_run
from streamlit.testing.v1 import AppTest

from sap_core.runs.files import write_json
from sap_core.runs.meta import update_run
from sap_core.ui.widgets.layout import PAGES

EVIL = "![x](http://evil.example) <img src=x> :red[a] $x$ :smile: :material/home: **b** `c` www.evil.example -> \u202e"
PAGE_NAMES = [file for pages in PAGES.values() for file, *_ in pages]
# Elements whose value or options Streamlit shows as they are.
AS_TEXT = {"text", "code", "arrow_data_frame", "text_input", "text_area", "selectbox", "multiselect", "json"}
# What of `EVIL` Streamlit would act on where it stands unescaped.
ACTIVE = re.compile(
    r"(?<!\\)!?(?<!\\)\[x(?<!\\)\]|(?<!\\)<img|(?<!\\):red|(?<!\\)\$x|:smile|:material/home:|(?<!\\)\*\*b"
    r"|(?<!\\)`c|http://evil|www\.evil|(?<!\S)-(?:\\)?>(?!\S)|\u202e"
)


@pytest.fixture
def hostile(root) -> dict[str, str]:
    """One run of each kind, all of whose texts are hostile; page -> what its address names."""
    captured = capture_run(root, name=EVIL, samples=2)
    other = capture_run(root, name=EVIL, model=EVIL)
    pruned = prune_run(root)
    exported = export_run(root, pruned, root / "out")
    swept = sweep_run(root, {"wanda": (0.5,), "magnitude": (0.5,)}, waiting=("magnitude-0.5",))
    failed = capture_run(root, name=EVIL, state="failed")
    for run in (captured, other, pruned, exported, swept, failed):
        update_run(run, name=EVIL, tags=[EVIL], notes=EVIL)
    damaged = capture_run(root, name=EVIL)
    (damaged / "manifest.json").write_text(json.dumps({"schema": 1, "kind": EVIL, "state": EVIL, "files": {EVIL: 7}}))
    write_json(damaged / "meta.json", {"name": EVIL, "tags": [EVIL], "notes": EVIL})
    return {"run": captured.name, "a": captured.name, "b": other.name, "damaged": damaged.name, "failed": failed.name,
            "pruned": pruned.name, "model": "demo:stories-diffusion"}  # fmt: skip


def shown(at: AppTest) -> list[str]:
    """All that a page gives to Streamlit to be read as Markdown: values, labels, help, options of pills and radios."""
    found = []
    for item in at.main.children.values(), at.sidebar.children.values():
        waiting = list(item)
        while waiting:
            element = waiting.pop()
            waiting += list(getattr(element, "children", {}).values())
            proto = getattr(element, "proto", None)
            if proto is None:
                continue
            found += [str(getattr(proto, name, "")) for name in ("label", "help")]
            if element.type not in AS_TEXT:
                found += [str(getattr(proto, name, "")) for name in ("body", "text", "value", "delta")]
                options = getattr(proto, "options", ())
                found += [str(getattr(option, "content", option)) for option in options]
    return found


@pytest.mark.parametrize("name", mostly_slow(PAGE_NAMES, 2))
def test_a_hostile_run_is_text_on_every_page(page, hostile, name):
    named = {"prune": {"model": hostile["model"], "result": hostile["pruned"]}, "export": {"prune": hostile["pruned"]}}
    address = named.get(name, {key: hostile[key] for key in ("run", "a", "b", "model")})
    texts = shown(page(name, **address))
    assert len(texts) > 5
    assert [text for text in texts if ACTIVE.search(text)] == []


@pytest.mark.slow
@pytest.mark.parametrize("which", mostly_slow(["damaged", "run", "failed", "pruned"], 1))
def test_runs_shows_each_of_them_as_text(page, hostile, which):
    texts = shown(page("runs", run=hostile[which]))
    assert any("evil" in text for text in texts)
    assert [text for text in texts if ACTIVE.search(text)] == []


@pytest.mark.parametrize("name", mostly_slow(["sinks", "capture", "prune", "tradeoff", "compare"], 1))
def test_an_address_that_is_hostile_is_text(page, hostile, name):
    texts = shown(page(name, **dict.fromkeys(("model", "run", "a", "b", "result"), EVIL)))
    assert [text for text in texts if ACTIVE.search(text)] == []


def test_the_check_can_fail(root):
    def hostile_page():
        import streamlit as st

        evil = st.session_state["evil"]
        st.markdown(evil)
        st.pills("x", [evil])
        st.button(evil, key="b")

    at = AppTest.from_function(hostile_page, default_timeout=60)
    at.session_state["evil"] = EVIL
    assert sum(bool(ACTIVE.search(text)) for text in shown(at.run())) == 3
