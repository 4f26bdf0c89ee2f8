"""Models are loaded from safetensors, without running anything that comes with them."""

import json
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tasks.errors import LavaflowError
from tasks.models import load_model, load_processor

CPU = torch.device("cpu")


@pytest.fixture
def copy(tiny_llava: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_llava, tmp_path / "model"))


def test_pickled_weights_are_not_opened(copy: Path):
    weights = copy / "model.safetensors"
    torch.save(load_file(weights), copy / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(LavaflowError, match=r"cannot load the model: .*safetensors"):
        load_model(copy, dtype="float32", device=CPU)


@pytest.mark.parametrize("load", [lambda f: load_model(f, dtype="float32", device=CPU), load_processor])
def test_code_that_comes_with_a_model_is_neither_run_nor_asked_about(copy: Path, load, workspace: Path):
    (copy / "evil.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    for name, key in (("config.json", "AutoModelForImageTextToText"), ("tokenizer_config.json", "AutoProcessor")):
        config = json.loads((copy / name).read_text())
        (copy / name).write_text(json.dumps(config | {"auto_map": {key: "evil.Evil", "AutoConfig": "evil.Evil"}}))
    with suppress(LavaflowError):  # transformers has classes of its own to fall back on; a refusal is as good
        load(copy)
    assert not Path("ran").exists()
    assert not (copy / "ran").exists()
