"""Pictures of a benchmark do not get into the data."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from prepare_data import paint

from tasks.errors import LavaflowError
from tasks.prepare.contamination import benchmark_files, benchmark_prints, find_contaminated
from tasks.prepare.records import Line, Record
from tasks.prepare.rows import Candidate, examine
from tasks.recipe import Images


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def rows(folder: Path, *images: Image.Image) -> list[Candidate]:
    folder.mkdir()
    found = []
    for number, image in enumerate(images):
        image.save(folder / f"{number}.png")
        picture = examine(folder / f"{number}.png", Images())
        found.append(Candidate(Record(Line("r", number, ""), "a", (), None, None, "other"), picture))
    return found


def contaminated(data: list[Candidate], benchmark: Path) -> dict[int, str]:
    prints = {"mmmu": list(benchmark_prints(benchmark_files(benchmark)))}
    return {place: verdict.detail for place, verdict in find_contaminated(data, prints, 4, 12).items()}


def test_the_same_picture_and_a_near_copy_are_found_in_a_folder_of_files(tmp_path: Path):
    bench = tmp_path / "MME" / "color" / "images"
    bench.mkdir(parents=True)
    paint(1).save(bench / "0001.png")
    paint(2).resize((70, 70)).save(bench / "0002.jpg", quality=60)
    (bench / "broken.jpg").write_bytes(b"no picture")
    found = contaminated(rows(tmp_path / "data", paint(0), paint(1), paint(2), paint(3)), tmp_path / "MME")
    assert found == {1: "the same picture is in mmmu", 2: "a near copy of the picture is in mmmu"}


def test_pictures_are_found_in_parquet_columns(tmp_path: Path):
    bench = tmp_path / "MMMU" / "Art"
    bench.mkdir(parents=True)
    table = {
        "id": ["a", "b"],
        "image_1": [{"bytes": png(paint(1)), "path": "1.png"}, {"bytes": png(paint(5)), "path": "5.png"}],
        "image_2": [None, {"bytes": png(paint(2)), "path": "2.png"}],
        "image": [png(paint(3)), None],
    }
    pq.write_table(pa.table(table), bench / "validation-00000-of-00001.parquet")
    data = rows(tmp_path / "data", *(paint(seed) for seed in range(5)))
    assert sorted(contaminated(data, tmp_path / "MMMU")) == [1, 2, 3]


def test_textvqas_training_pictures_in_the_same_folder_do_not_count(tmp_path: Path):
    images = tmp_path / "textvqa" / "train_images"
    images.mkdir(parents=True)
    paint(1).save(images / "asked.jpg", quality=95)
    paint(2).save(images / "trained.jpg", quality=95)
    questions = {"data": [{"image_id": "asked", "question": "?"}]}
    (tmp_path / "textvqa" / "TextVQA_0.5.1_val.json").write_text(json.dumps(questions))
    assert sorted(contaminated(rows(tmp_path / "data", paint(1), paint(2)), tmp_path / "textvqa")) == [0]


def test_a_benchmark_without_pictures_is_an_error_that_names_it(tmp_path: Path):
    with pytest.raises(LavaflowError, match="MME"):
        benchmark_files(tmp_path / "MME")
