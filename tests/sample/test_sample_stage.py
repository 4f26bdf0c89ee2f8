"""The sample is made once, whole, and published without harm to what a user has changed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor

from tasks.errors import LavaflowError
from tasks.models import load_model, load_processor
from tasks.refs import SampleRef
from tasks.sample.size import SampleSize
from tasks.sample.stage import sample_digits
from tasks.store import digest_tree

DIGITS = Path("data/digits")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SampleRef]:
    """A working folder in which a tiny sample has been made."""
    folder = tmp_path_factory.mktemp("sample")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder, sample_digits(size=SampleSize.tiny())


@pytest.fixture
def made(finished: tuple[Path, SampleRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SampleRef:
    """The same in a copy that a test may change; it is the working folder."""
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return finished[1]


def test_everything_a_recipe_needs_is_there(made: SampleRef):
    lines = (DIGITS / "rows.jsonl").read_text().splitlines()
    assert made.path == "data/digits"
    assert made.rows == len(lines)
    ledger = [json.loads(line) for line in (DIGITS / "ledger.jsonl").read_text().splitlines()]
    assert max(entry["line"] for entry in ledger) <= made.rows
    for name in ("MME/OCR/0000.txt", "textvqa/TextVQA_0.5.1_val.json", "MMMU/Art/validation-00000-of-00001.parquet"):
        assert (DIGITS / "benchmarks" / name).is_file()
    assert list(Path("runs/base").glob("*/manifest.json"))
    assert not (DIGITS / "manifest.json").exists()


def test_the_base_answers_and_the_clip_compares(made: SampleRef):
    model = load_model(DIGITS / "base", dtype="float32", device=torch.device("cpu"))
    processor = load_processor(DIGITS / "base")
    image = Image.open(next((DIGITS / "images").glob("holdout*.png")))
    inputs = processor(
        images=image, text="USER: <image>\nWhich number is written here? ASSISTANT:", return_tensors="pt"
    )
    assert model.generate(**inputs, max_new_tokens=3, do_sample=False).shape[1] > inputs["input_ids"].shape[1]
    clip, reader = AutoModel.from_pretrained(DIGITS / "clip"), AutoProcessor.from_pretrained(DIGITS / "clip")
    pair = reader(images=[image], text=["The number 4.", "Red ink."], padding=True, return_tensors="pt")
    assert clip(**pair).logits_per_image.shape == (1, 2)
    assert pair["input_ids"][0, -1] == clip.config.text_config.eos_token_id or pair["attention_mask"][0, -1] == 0


def test_the_towers_of_clip_and_base_are_the_same(made: SampleRef):
    model = load_model(DIGITS / "base", dtype="float32", device=torch.device("cpu"))
    clip = AutoModel.from_pretrained(DIGITS / "clip")
    tower = model.model.vision_tower.state_dict()
    assert all(torch.equal(tower[key], value) for key, value in clip.vision_model.state_dict().items())


def test_the_second_time_nothing_is_made_and_torch_is_not_imported(made: SampleRef):
    shutil.rmtree("runs")  # not even the store is needed
    program = (
        "import sys\n"
        "from tasks.sample.size import SampleSize\n"
        "from tasks.sample.stage import sample_digits\n"
        "print(sample_digits(size=SampleSize.tiny()).digest)\n"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == made.digest
    assert not Path("runs").exists()


def test_a_deleted_folder_is_published_again_without_making_anything(made: SampleRef):
    before = digest_tree(DIGITS)
    stamps = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("manifest.json")}
    shutil.rmtree(DIGITS)
    assert sample_digits(size=SampleSize.tiny()) == made
    assert digest_tree(DIGITS) == before
    assert {path: path.stat().st_mtime_ns for path in Path("runs").rglob("manifest.json")} == stamps


def test_rows_added_by_hand_stay_and_do_not_reach_the_store(made: SampleRef):
    shutil.rmtree(DIGITS)
    sample_digits(size=SampleSize.tiny())
    with (DIGITS / "rows.jsonl").open("a") as file:
        file.write("{}\n")
    sample_digits(size=SampleSize.tiny())
    assert len((DIGITS / "rows.jsonl").read_text().splitlines()) == made.rows + 1
    stored = next(Path("runs/sample").glob("*/rows.jsonl"))
    assert len(stored.read_text().splitlines()) == made.rows


def test_an_edited_sample_is_not_replaced_by_a_new_one(made: SampleRef):
    with (DIGITS / "rows.jsonl").open("a") as file:
        file.write("{}\n")
    tiny = SampleSize.tiny()
    other = tiny.model_copy(update={"rows": tiny.rows.model_copy(update={"seed": 18})})
    with pytest.raises(LavaflowError, match="rename or delete"):
        sample_digits(size=other)
    assert len((DIGITS / "rows.jsonl").read_text().splitlines()) == made.rows + 1


def test_a_folder_that_is_no_sample_is_left_alone(workspace: Path):
    DIGITS.mkdir(parents=True)
    (DIGITS / "mine.txt").write_text("mine")
    with pytest.raises(LavaflowError, match="rename or delete"):
        sample_digits(size=SampleSize.tiny())
    assert (DIGITS / "mine.txt").read_text() == "mine"


def test_other_rows_replace_the_old_and_keep_the_base(made: SampleRef):
    tiny = SampleSize.tiny()
    more = tiny.model_copy(update={"rows": tiny.rows.model_copy(update={"holdout_images": 13})})
    bases = list(Path("runs/base").glob("*/manifest.json"))
    ref = sample_digits(size=more)
    assert ref.rows == made.rows + 3
    assert len((DIGITS / "rows.jsonl").read_text().splitlines()) == ref.rows
    assert list(Path("runs/base").glob("*/manifest.json")) == bases
    assert not list(Path("data").glob(".digits*"))


def test_the_same_sizes_make_the_same_bytes(made: SampleRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert sample_digits(size=SampleSize.tiny()).digest == made.digest
