"""The shipped models: where they are found, what is beside them, and that they do what the report says."""

import json
import subprocess
import sys

import pytest

from sap_core.errors import ModelProblem, UnknownOption
from sap_core.models.demo_checkpoints import MODELS, checkpoint_path

FOLDERS = {name: checkpoint_path(name) for name in MODELS}


def test_an_unknown_name_lists_the_known():
    with pytest.raises(UnknownOption, match="stories-diffusion, stories-ar"):
        checkpoint_path("storys")


def test_missing_weights_say_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr("sap_core.models.demo_checkpoints._HERE", tmp_path / "a" / "b")
    with pytest.raises(ModelProblem, match="sap demo train"):
        checkpoint_path("stories-ar")


def test_the_package_goes_before_the_repository(tmp_path, monkeypatch):
    for place in ("sap_core/demo/checkpoints/stories-ar", "assets/demo/stories-ar"):
        (tmp_path / place).mkdir(parents=True)
    monkeypatch.setattr("sap_core.models.demo_checkpoints._HERE", tmp_path / "sap_core" / "demo")
    (tmp_path / "assets/demo/stories-ar/config.json").touch()
    assert checkpoint_path("stories-ar") == tmp_path / "assets/demo/stories-ar"
    (tmp_path / "sap_core/demo/checkpoints/stories-ar/config.json").touch()
    assert checkpoint_path("stories-ar") == tmp_path / "sap_core/demo/checkpoints/stories-ar"


def test_everything_lies_beside_the_weights():
    wanted = {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "training_log.jsonl",
        "report.json",
    }
    for folder in FOLDERS.values():
        assert wanted <= {path.name for path in folder.iterdir()}
    total = sum(path.stat().st_size for folder in FOLDERS.values() for path in folder.iterdir())
    assert total < 30_000_000


def test_reports_were_made_from_these_models():
    for name, folder in FOLDERS.items():
        report = json.loads((folder / "report.json").read_text())
        assert report["model"] == name
        assert report["likelihood"]["nats_per_token"] > report["generator"]["nats_per_token"] > 0
        assert set(report["tasks"]) >= {"story", "question", "summary"}
        assert report["sinks"]["prompts"] >= 32


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.slow
def test_the_likelihood_of_the_report_holds(name):
    """Eight texts of the report's own kind: within five standard errors of so few, the reported figure."""
    from sap_core.evaluation.api import evaluate

    report = json.loads((FOLDERS[name] / "report.json").read_text())["likelihood"]
    found = evaluate(str(FOLDERS[name]), samples=8, draws=4, tasks=False, generate=0)["likelihood"]
    assert found["kind"] == report["kind"]
    assert abs(found["nats_per_token"] - report["nats_per_token"]) < 5 * found["standard_error"] + 0.02


def test_reading_and_writing_stories_needs_no_torch():
    code = (
        "import sys; from sap_core.stories import corpus, faults, tasks; corpus.generate_stories(2); "
        "faults.story_faults('tom'); tasks.examples('story', 1); "
        "assert not {'torch', 'transformers', 'tokenizers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
