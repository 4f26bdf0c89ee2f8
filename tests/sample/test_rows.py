"""Rows in both forms, over pictures on disk."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.sample.draw import INKS, PAPERS, SIDE, Composite, draw, plan
from tasks.sample.rows import MIX, Example, examples_of
from tasks.sample.scans import Pool, deal


@pytest.fixture(scope="module")
def pool() -> Pool:
    return deal(17)["holdout"]


@pytest.fixture(scope="module")
def made(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Example]]:
    folder = tmp_path_factory.mktemp("rows") / "images"
    folder.mkdir()
    return folder, examples_of(pool, "holdout", 80, questions=3, folder=folder, rng=np.random.default_rng(2))


def test_rows_say_where_their_picture_is_and_which_split_they_are_of(made):
    folder, examples = made
    assert len(examples) == 240
    for example in examples:
        row = json.loads(example.line)
        assert set(row) == {"image", "text", "split", "kind"}
        assert row["split"] == "holdout"
        assert (folder.parent / row["image"]).is_file()


def test_pictures_are_real_png_and_jpeg_files(made):
    folder, _ = made
    forms = set()
    for path in folder.iterdir():
        with Image.open(path) as image:
            image.load()
            assert image.size == (SIDE, SIDE)
            forms.add((path.suffix, image.format))
    assert forms == {(".png", "PNG"), (".jpg", "JPEG")}


def test_all_kinds_come_and_each_has_its_form(made):
    _, examples = made
    assert {example.kind for example in examples} == set(MIX)
    for example in examples:
        form = r"Generate [a-z ]+: .+" if example.kind == "generate" else r"(?s)Question: .+\nAnswer: [^\n]+"
        assert re.fullmatch(form, example.text)
        assert example.text.endswith(example.answer)


def test_no_row_comes_twice(made):
    _, examples = made
    assert len({example.line for example in examples}) == len(examples)


def test_the_same_seed_draws_the_same_picture_and_another_does_not(pool):
    shown = plan(pool, np.random.default_rng(3))
    one, same, other = (draw(shown, pool, np.random.default_rng(seed)).tobytes() for seed in (4, 4, 5))
    assert one == same != other


def test_a_picture_is_in_its_ink_on_its_paper(pool):
    shown = Composite((int(pool.digits[0]),), (0,), "red", "pink")
    colors = np.asarray(draw(shown, pool, np.random.default_rng(6))).reshape(-1, 3).astype(int)
    for name in (INKS["red"], PAPERS["pink"]):
        near = np.abs(colors - np.array(name)).max(axis=1) <= 12
        assert near.mean() > 0.01


def test_plans_use_the_scans_of_their_digits_and_no_leading_zero(pool):
    rng = np.random.default_rng(7)
    plans = [plan(pool, rng) for _ in range(300)]
    for shown in plans:
        assert tuple(pool.digits[list(shown.scans)]) == shown.digits
        assert len(shown.digits) == 1 or shown.digits[0] != 0
    assert {len(shown.digits) for shown in plans} == {1, 2}
    assert {shown.ink for shown in plans} == set(INKS)
    assert {shown.paper for shown in plans} == set(PAPERS)
