"""Export: nothing pruned, a form, a written and verified folder, one that is gone."""

from __future__ import annotations

import io
import json
import shutil
import zipfile

from page_text import words
from sample_runs import export_run, prune_run

from sap_core.progress import Progress
from sap_core.runs.files import plain
from sap_core.specs import ElasticSpec, ExportSpec, PushSpec, VerifySpec, parse_spec
from sap_core.ui.export.panels import zipped


def test_without_a_pruned_model_it_says_what_to_do(page):
    assert "Nothing has been pruned yet" in words(page("export"))


def test_the_form_makes_the_spec_that_is_submitted(page, root, jobs, tmp_path):
    run = prune_run(root)
    at = page("export")
    at.text_input[0].set_value(str(tmp_path / "out")).run()
    next(button for button in at.button if button.label == "Write checkpoint").click().run()
    spec = jobs.submitted[0]
    assert (spec.run, spec.out, spec.verify, spec.overwrite) == (str(run), str(tmp_path / "out"), True, False)


def test_a_written_checkpoint_shows_its_verification_and_code(page, root, tmp_path):
    export_run(root, prune_run(root), tmp_path / "out")
    at = page("export")
    assert "its outputs equal the pruned model's" in at.success[0].value
    assert "load()" in words(at)


def test_the_original_code_is_run_after_consent_only(page, root, tmp_path, jobs):
    out = tmp_path / "out"
    export_run(root, prune_run(root), out)
    assert "original code" not in words(page("export"))  # it brings none
    (out / "config.json").write_text(json.dumps({"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}}))
    (out / "modeling_x.py").write_text("class X: pass")
    at = page("export")
    assert "class X: pass" in words(at) and "modeling_x.py (sha256 " in words(at)

    def run():
        return next(button for button in at.button if button.label == "Run the code and compare")

    assert run().disabled
    next(box for box in at.checkbox if "trust" in box.label).check().run()
    run().click().run()
    expected = VerifySpec.build(folder=str(out), original_code=True, trust_remote_code=True)
    assert jobs.submitted == [expected] and parse_spec(plain(expected)) == expected


def test_a_folder_that_is_gone_is_said(page, root, tmp_path):
    export_run(root, prune_run(root), tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    assert "not there any more" in words(page("export"))


def test_an_empty_folder_name_is_said(page, root):
    prune_run(root)
    at = page("export")
    at.text_input[0].set_value(" ").run()
    assert "Name a folder" in words(at)
    assert next(button for button in at.button if button.label == "Write checkpoint").disabled


def test_the_zip_holds_the_folder(tmp_path):
    (tmp_path / "model" / "sub").mkdir(parents=True)
    (tmp_path / "model" / "sub" / "x.txt").write_text("x")
    assert zipfile.ZipFile(io.BytesIO(zipped(tmp_path / "model"))).namelist() == ["model/sub/x.txt"]


def test_an_export_at_work_shows_its_steps(page, jobs, root, tmp_path):
    spec = ExportSpec.build(run=str(prune_run(root)), out=str(tmp_path / "out"))
    job = jobs.put(spec, "running", progress=Progress("export", 1, 3, "loading it in a fresh process"))
    shown = words(page("export", state={"job_export": job}))
    assert ":material/check_circle: Weights, tokenizer" in shown
    assert ":material/pending: Loaded in a fresh process" in shown


def test_verification_is_told_step_by_step(page, root, tmp_path):
    export_run(root, prune_run(root), tmp_path / "out")
    shown = words(page("export"))
    assert "**Logits compared**: on 24 tokens" in shown and shown.index("Written**") < shown.index("Logits compared")


def test_without_a_token_nothing_can_be_pushed(page, root, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    export_run(root, prune_run(root), tmp_path / "out")
    at = page("export", state={"push_repo": "me/small"})
    assert "No token here" in words(at) and push(at).disabled


def test_a_push_is_a_job_without_the_token(page, root, jobs, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret")
    export_run(root, prune_run(root), tmp_path / "out")
    at = page("export", state={"push_repo": "me and you"})
    assert "expected NAME/MODEL" in at.error[0].value and push(at).disabled
    at = page("export", state={"push_repo": "me/small"})
    push(at).click().run()
    assert jobs.submitted[-1] == PushSpec(folder=str(tmp_path / "out"), repo="me/small", private=True)
    assert "sap push" in words(at) and "hf_secretsecret" not in words(at)


def push(at):
    return next(button for button in at.button if button.label == "Push")


def test_an_elastic_checkpoint_needs_no_pruned_model(page, jobs, tiny_diffusion, tmp_path):
    at = page("export", model=tiny_diffusion)
    folder = next(field for field in at.text_input if field.label == "Elastic folder")
    folder.set_value(str(tmp_path / "out")).run()
    next(button for button in at.button if button.label == "Write elastic checkpoint").click().run()
    assert jobs.submitted == [ElasticSpec.build(model=str(tiny_diffusion), out=str(tmp_path / "out"))]
    assert "sap elastic" in words(at) and "keep=0.7" in words(at)
