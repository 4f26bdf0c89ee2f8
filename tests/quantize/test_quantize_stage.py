"""The stage: what it hands on, what it records, and when it runs again."""

import sys
from pathlib import Path

import pytest
from quantize_data import Export, recipe

from tasks.errors import LavaflowError
from tasks.quantize import stage
from tasks.quantize.fit import check_fit
from tasks.quantize.stage import quantize
from tasks.refs import DatasetRef, ModelRef
from tasks.store import digest_tree


def test_the_reference_says_form_size_and_content(export: Export) -> None:
    assert export.ref.form == export.method
    assert export.ref.bytes == export.report.size.total
    assert export.ref.digest == digest_tree(export.folder)


def test_the_report_says_what_ran_in_place_of_what_was_asked_for(export: Export) -> None:
    assert export.report.engine.startswith("gptqmodel 7.")
    assert export.report.engine_asked == "autoawq"
    assert "quantize.engine is autoawq; gptqmodel, its successor, runs in its place" in export.log


def test_every_layer_was_quantized_on_every_calibration_token(export: Export) -> None:
    report = export.report
    assert report.rows == 8
    assert len(report.layers) == 7
    assert {layer.tokens for layer in report.layers} == {report.tokens}
    assert all(layer.loss is not None and 0 < layer.loss < 1 for layer in report.layers)


def test_nothing_of_the_librarys_own_lies_about(export: Export) -> None:
    names = {file.name for file in export.folder.rglob("*")}
    assert names == {
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "manifest.json",
        "model.safetensors",
        "processor_config.json",
        "quantization.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert not (export.folder.parent.parent.parent / "logs").exists()


def test_the_same_work_is_not_done_again(
    gptq: Export, merged: ModelRef, data: DatasetRef, quantize_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(quantize_workspace)
    assert quantize("gptq", merged, data, recipe(engine="autoawq")) == gptq.ref


@pytest.mark.parametrize("change", [{"samples": 9}, {"group_size": 64}])
def test_another_section_is_other_work(
    gptq: Export,
    merged: ModelRef,
    data: DatasetRef,
    quantize_workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, int],
) -> None:
    monkeypatch.chdir(quantize_workspace)
    monkeypatch.setattr(stage, "require_gptqmodel", _stop)
    other = {"bits": 4, "group_size": 32, "samples": 8} | change
    with pytest.raises(_Started):
        quantize("gptq", merged, data, recipe(engine="autoawq", gptq=other))


class _Started(Exception):  # noqa: N818
    """The work was begun."""


def _stop() -> None:
    raise _Started


def test_a_recipe_without_the_section_is_refused(merged: ModelRef, data: DatasetRef, workspace: Path) -> None:
    with pytest.raises(LavaflowError, match=r"^quantize\.awq is not in the recipe; add it"):
        quantize("awq", merged, data, recipe(awq=None))


def test_a_missing_library_is_named_with_its_remedy(
    merged: ModelRef, data: DatasetRef, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LavaflowError, match=r"need gptqmodel and optimum: pip install 'lavaflow\[quantize\]'"):
        quantize("gptq", merged, data, recipe())


def test_models_that_cannot_be_quantized_are_refused_before_any_work() -> None:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaNextConfig

    narrow = LlavaConfig(
        vision_config=CLIPVisionConfig(), text_config=LlamaConfig(hidden_size=96, intermediate_size=192)
    )
    check_fit(narrow, "gptq", 32)
    with pytest.raises(LavaflowError, match=r"quantize\.awq: the model's hidden_size width 96 is no multiple of 64"):
        check_fit(narrow, "awq", 32)
    with pytest.raises(LavaflowError, match=r"quantize\.gptq\.group_size: 128 does not divide .* hidden_size width 96"):
        check_fit(narrow, "gptq", 128)
    with pytest.raises(LavaflowError, match=r"llava_next is not supported; only llava with a language model of llama"):
        check_fit(LlavaNextConfig(), "gptq", 32)


def test_importing_the_stage_needs_neither_torch_nor_gptqmodel() -> None:
    import subprocess

    code = (
        "import sys, tasks.quantize.stage, tasks.quantize.supervise; print({'torch', 'gptqmodel'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
