"""Planted defects are what the ledger says, and nothing else is wrong."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.sample.benchmarks import Picture, write_textvqa
from tasks.sample.defects import Entry, plant
from tasks.sample.draw import Composite
from tasks.sample.rows import Example, examples_of
from tasks.sample.scans import deal
from tasks.sample.size import Defects

COUNTS = Defects(
    truncated=9, not_an_image=8, missing=7, bad_json=12, exact_duplicates=11, near_duplicates=10, contaminated=6
)


class Made:
    """What planting wrote, and what went in."""

    def __init__(self, folder: Path) -> None:
        pools, rng = deal(17), np.random.default_rng(9)
        (folder / "images").mkdir()
        self.folder = folder
        self.good: list[Example] = []
        for split, images in (("train", 150), ("holdout", 20)):
            images_in = folder / "images"
            self.good += examples_of(pools[split], split, images, questions=3, folder=images_in, rng=rng)
        self.pictures: list[Picture] = write_textvqa(pools["textvqa"], folder / "textvqa", 20, rng)
        self.lines, self.ledger = plant(self.good, self.pictures, folder=folder, counts=COUNTS, rng=rng)

    def of(self, defect: str) -> list[Entry]:
        return [entry for entry in self.ledger if entry.defect == defect]

    def row(self, line: int | str) -> dict[str, str]:
        return json.loads(self.lines[int(line) - 1])

    def image(self, line: int | str) -> Path:
        return self.folder / self.row(line)["image"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("defects"))


def test_the_ledger_counts_what_was_asked_for(made: Made):
    judged = [one for one in made.good if one.split == "train" and len(one.answer.split()) >= 3]
    expected = COUNTS.model_dump(exclude={"mismatched", "exact_duplicates", "near_duplicates"}) | {
        "exact_duplicate": COUNTS.exact_duplicates,
        "near_duplicate": COUNTS.near_duplicates,
        "mismatched": round(COUNTS.mismatched * len(judged)),
    }
    assert Counter(entry.defect for entry in made.ledger) == expected
    assert len(made.lines) == len(made.good) + sum(expected.values()) - expected["mismatched"]


def test_lines_outside_the_ledger_are_the_good_rows(made: Made):
    spoiled = {entry.line for entry in made.ledger}
    rest = [line for number, line in enumerate(made.lines, start=1) if number not in spoiled]
    assert len(rest) == len(made.good) - len(made.of("mismatched"))
    assert set(rest) <= {one.line for one in made.good}
    assert len(set(rest)) == len(rest)


def test_defects_are_in_the_train_split_only(made: Made):
    for entry in made.ledger:
        if entry.defect != "bad_json":
            assert made.row(entry.line)["split"] == "train"


def test_bad_lines_are_not_json(made: Made):
    for entry in made.of("bad_json"):
        with pytest.raises(ValueError, match=r"."):
            json.loads(made.lines[entry.line - 1])


@pytest.mark.parametrize("defect", ["truncated", "not_an_image"])
def test_broken_files_cannot_be_decoded(made: Made, defect: str):
    for entry in made.of(defect):
        assert made.row(entry.line)["image"] == entry.of
        with pytest.raises(OSError, match=r"."), Image.open(made.image(entry.line)) as image:
            image.load()


def test_truncated_files_begin_like_pictures(made: Made):
    for entry in made.of("truncated"):
        assert made.image(entry.line).read_bytes()[:2] in (b"\x89P", b"\xff\xd8")


def test_missing_files_are_missing_and_no_others(made: Made):
    gone = {entry.line for entry in made.of("missing")}
    broken = {entry.line for entry in made.of("bad_json")}
    for line in range(1, len(made.lines) + 1):
        if line not in broken:
            assert made.image(line).exists() == (line not in gone)


def test_repeated_rows_stand_behind_the_row_they_repeat(made: Made):
    for entry in made.of("exact_duplicate") + made.of("near_duplicate"):
        assert int(entry.of) < entry.line
        assert made.row(entry.of)["text"] == made.row(entry.line)["text"]
    for entry in made.of("exact_duplicate"):
        assert made.row(entry.of) == made.row(entry.line)


def test_near_copies_are_other_files_that_look_alike(made: Made):
    for entry in made.of("near_duplicate"):
        one, other = made.image(entry.of), made.image(entry.line)
        assert one.read_bytes() != other.read_bytes()
        small = [np.asarray(Image.open(path).convert("RGB").resize((16, 16)), float) for path in (one, other)]
        assert np.abs(small[0] - small[1]).mean() < 12


def test_contaminated_rows_show_a_benchmarks_picture(made: Made):
    known = {picture.name: picture.data for picture in made.pictures}
    exact = 0
    for entry in made.of("contaminated"):
        exact += made.image(entry.line).read_bytes() == known[entry.of]
    assert 0 < exact < len(made.of("contaminated"))


def test_a_mismatched_text_is_another_rows_and_wrong_for_the_picture(made: Made):
    shown: dict[str, Composite] = {one.image: one.shown for one in made.good}
    own = {(one.image, one.kind): one.text for one in made.good}
    assert made.of("mismatched")
    for entry in made.of("mismatched"):
        row = made.row(entry.line)
        assert row["text"] != own[row["image"], row["kind"]]
        assert row["text"] in {one.text for one in made.good if one.kind == row["kind"]}
        assert shown[row["image"]].number not in row["text"].replace(".", " ").split()


def test_the_same_seed_plants_the_same(tmp_path: Path, made: Made):
    (tmp_path / "again").mkdir()
    again = Made(tmp_path / "again")
    assert (again.lines, again.ledger) == (made.lines, made.ledger)
