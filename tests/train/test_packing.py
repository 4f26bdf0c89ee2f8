"""Packing deals an update's samples into rows, and loses none."""

import random

import pytest

from tasks.errors import LavaflowError
from tasks.train.examples import Example
from tasks.train.packing import pack


def example(name, length, *images):
    return Example(name, tuple(range(length)), (-100,) * length, images)


def names(rows):
    return sorted(example.row for row in rows for example in row.examples)


def test_every_sample_is_in_one_row_and_no_row_is_over_its_bounds():
    chance = random.Random(0)
    for _ in range(50):
        samples = [example(str(n), chance.randint(1, 100), f"i{chance.randint(0, 30)}") for n in range(60)]
        rows = pack(samples, max_length=128, max_images=3)
        assert names(rows) == sorted(sample.row for sample in samples)
        assert all(row.length == sum(len(e.ids) for e in row.examples) <= 128 for row in rows)
        assert all(len({i for e in row.examples for i in e.images}) == len(row.images) <= 3 for row in rows)


def test_rows_are_filled_as_well_as_they_can_be():
    rows = pack([example(str(n), size) for n, size in enumerate([60, 50, 40, 40, 10])], max_length=100, max_images=9)
    assert [row.length for row in rows] == [100, 100]


def test_samples_of_one_picture_share_its_place():
    rows = pack([example("a", 10, "x"), example("b", 10, "x"), example("c", 10, "y")], max_length=100, max_images=1)
    assert sorted(names([row]) for row in rows) == [["a", "b"], ["c"]]


def test_without_packing_every_sample_has_a_row_of_its_own_in_order():
    rows = pack([example("a", 5), example("b", 9)], max_length=100, max_images=9, together=False)
    assert [row.examples[0].row for row in rows] == ["a", "b"]


def test_a_sample_that_fits_no_row_is_named():
    with pytest.raises(LavaflowError, match="row long has 101 tokens, over train.max_length 100"):
        pack([example("long", 101)], max_length=100, max_images=1)
