"""A broken export is refused, with a line that names what is wrong."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from quantize_data import Export, make_row
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from tasks.dataset import Dataset
from tasks.errors import LavaflowError
from tasks.models import load_processor
from tasks.quantize import verify as verify_module
from tasks.quantize.calibration import Inputs, spread, unseen
from tasks.quantize.job import Agreement
from tasks.quantize.verify import measure, verify
from tasks.refs import DatasetRef, ModelRef

CPU = torch.device("cpu")


@pytest.fixture
def broken(export: Export, tmp_path: Path) -> Path:
    """A copy of an export, to be broken."""
    return Path(shutil.copytree(export.folder, tmp_path / "broken"))


def change(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Edit the tensors of a folder in place."""
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def check(folder: Path, merged: ModelRef, data: DatasetRef) -> Agreement:
    row = make_row("text", 3, [], "validation")
    return verify(folder, Path(merged.path), [row], Dataset(Path(data.path)), dtype="float32", device=CPU)


def test_a_whole_export_passes_and_its_agreement_is_that_of_the_report(
    export: Export, merged: ModelRef, data: DatasetRef
) -> None:
    dataset = Dataset(Path(data.path))
    inputs = Inputs(dataset, load_processor(merged.path), AutoConfig.from_pretrained(merged.path))
    calibrated = inputs.take(spread(dataset.rows("train")), 8)
    rows = inputs.take(unseen(dataset, calibrated), 32)
    found = verify(export.folder, Path(merged.path), rows, dataset, dtype="float32", device=CPU)
    assert found.rows == export.report.agreement.rows == 32
    assert found.tokens == export.report.agreement.tokens > 64
    assert found.kl == pytest.approx(export.report.agreement.kl, rel=0.3)
    assert 0 <= found.kl < 0.05


def test_the_full_model_agrees_with_itself(merged: ModelRef, data: DatasetRef) -> None:
    row = make_row("text", 3, [], "validation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify_module, "_is_whole", lambda model, folder: None)
        found = verify(
            Path(merged.path), Path(merged.path), [row], Dataset(Path(data.path)), dtype="float32", device=CPU
        )
    assert found.same_token == 1.0
    assert found.kl == pytest.approx(0, abs=1e-6)


def test_a_missing_weight_is_refused(broken: Path, merged: ModelRef, data: DatasetRef) -> None:
    change(broken, lambda tensors: tensors.pop("language_model.model.layers.0.mlp.up_proj.scales"))
    with pytest.raises(LavaflowError, match=r"broken: the weights do not fit the model: .*mlp\.up_proj\.scales"):
        check(broken, merged, data)


def test_a_weight_too_many_is_refused(broken: Path, merged: ModelRef, data: DatasetRef) -> None:
    change(broken, lambda tensors: tensors.update({"language_model.model.layers.9.stray": torch.zeros(1)}))
    with pytest.raises(LavaflowError, match=r"do not fit the model: .*stray"):
        check(broken, merged, data)


def test_a_scale_that_is_no_number_is_refused_by_name(broken: Path, merged: ModelRef, data: DatasetRef) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors["language_model.model.layers.0.self_attn.v_proj.scales"][0, 0] = float("nan")

    change(broken, spoil)
    with pytest.raises(LavaflowError, match=r"self_attn\.v_proj\.scales holds values that are no numbers"):
        check(broken, merged, data)


def test_an_awq_config_that_forgets_what_is_not_quantized_is_refused(
    awq: Export, merged: ModelRef, data: DatasetRef, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(awq.folder, tmp_path / "forgetful"))
    config = json.loads((folder / "config.json").read_text())
    del config["quantization_config"]["modules_to_not_convert"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        LavaflowError, match=r"do not fit the model: .*missing_keys.*vision_tower|multi_modal_projector"
    ):
        check(folder, merged, data)


def test_a_model_that_is_not_quantized_is_refused(merged: ModelRef, data: DatasetRef) -> None:
    with pytest.raises(LavaflowError, match=r"no quantized layer in it"):
        measure(Path(merged.path), 32)
    with pytest.raises(LavaflowError, match=r"layer 0\.\S+ is not quantized"):
        check(Path(merged.path), merged, data)


def test_the_quantized_layers_take_at_most_three_tenths_of_sixteen_bits(export: Export) -> None:
    size = measure(export.folder, 32)
    inputs = [256, 256, 256, 256, 256, 256, 768]
    outputs = [256, 256, 256, 256, 768, 768, 256]
    weights = sum(i * o for i, o in zip(inputs, outputs, strict=True))
    # 4 bits a weight; 20 bits for scale and zero point of a group of 32; GPTQ notes each input's group in 32 bits
    indices = 4 * sum(inputs) if export.method == "gptq" else 0
    assert size.linears_16bit == 2 * weights
    assert size.linears == weights * (4 + 20 / 32) / 8 + indices
    assert size.ratio <= 0.30
    assert size.total == sum(file.stat().st_size for file in export.folder.glob("*.safetensors"))


def test_layers_larger_than_that_are_refused(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_module, "MOST", 0.28)
    with pytest.raises(LavaflowError, match=r"take 0\.2[89]\d of their bytes in 16 bits, more than 0\.28"):
        measure(export.folder, 32)
