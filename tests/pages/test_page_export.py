"""Export: nothing pruned, a form, a written and verified folder, one that is gone."""

from __future__ import annotations

import io
import shutil
import zipfile

from page_text import words
from sample_runs import export_run, prune_run

from sap_core.ui.export import zipped


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
