"""Rows are dealt group by group, and no near copy straddles two splits."""

from dataclasses import replace

import pytest
from prepare_data import paint

from tasks.prepare.duplicates import Copies
from tasks.prepare.records import Line, Record
from tasks.prepare.rows import Candidate, PictureFile, Verdicts, examine, pictures_of
from tasks.prepare.split import Place, deal
from tasks.recipe import Images, Split

CONFIG = Split(holdout=0.2, validation=0.1, seed=17)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[PictureFile]:
    """Places 0 and 1 are near copies; the others are alone."""
    folder = tmp_path_factory.mktemp("pictures")
    found = []
    for number in range(300):
        image = paint(0).resize((80, 80)) if number == 1 else paint(number)
        image.save(folder / f"{number}.png")
        found.append(examine(folder / f"{number}.png", Images()))
    return found


def row(picture: PictureFile, split: str | None = None, group: str | None = None) -> Candidate:
    return Candidate(Record(Line("r", 1, ""), "a.png", (), split, group, "other"), picture)


def dealt(rows: list[Candidate], config: Split = CONFIG) -> tuple[list[Place], Verdicts]:
    return deal(rows, Copies(pictures_of(rows), hamming=4, color=12), config)


def test_shares_come_out_about_right_and_the_seed_rotates_the_hold_out(pictures: list[PictureFile]):
    rows = [row(picture) for picture in pictures]
    places, verdicts = dealt(rows)
    splits = [place.split for place in places]
    assert not verdicts
    assert 0.13 < splits.count("holdout") / 300 < 0.27
    assert 0.05 < splits.count("validation") / 300 < 0.16
    other = [place.split for place in dealt(rows, replace_seed(18))[0]]
    assert splits != other
    assert splits == [place.split for place in dealt(rows)[0]]


def replace_seed(seed: int) -> Split:
    return CONFIG.model_copy(update={"seed": seed})


def test_a_row_lands_in_the_same_split_whatever_else_there_is(pictures: list[PictureFile]):
    everything = dealt([row(picture) for picture in pictures])[0]
    some = dealt([row(picture) for picture in pictures[100:150]])[0]
    assert everything[100:150] == some


def test_near_copies_and_rows_of_a_group_stay_together(pictures: list[PictureFile]):
    for seed in range(30):
        rows = [row(pictures[0]), row(pictures[1], group="g"), row(pictures[2], group="g"), row(pictures[3])]
        places, _ = dealt(rows, replace_seed(seed))
        assert len(set(places[:3])) == 1
        assert len({place.group for place in places[:3]}) == 1
        assert places[3].group != places[0].group


def test_a_near_copy_that_comes_later_moves_nobody(pictures: list[PictureFile]):
    before = [row(picture) for picture in pictures[1:]]
    after = [*before, row(pictures[0])]  # a near copy of pictures[1]
    assert dealt(after)[0][: len(before)] == dealt(before)[0]


def test_a_rows_own_split_is_obeyed_and_carries_its_group_along(pictures: list[PictureFile]):
    for split in ("train", "validation", "holdout"):
        places, verdicts = dealt([row(pictures[0], split=split), row(pictures[1]), row(pictures[2])], replace_seed(3))
        assert not verdicts
        assert places[0].split == places[1].split == split


def test_of_near_copies_with_different_splits_the_training_one_goes(pictures: list[PictureFile]):
    rows = [row(pictures[0], split="train"), row(pictures[1], split="holdout"), row(pictures[2], split="train")]
    places, verdicts = dealt(rows)
    assert {place: verdict.reason for place, verdict in verdicts.items()} == {0: "straddles_split"}
    assert [place.split for place in places[1:]] == ["holdout", "train"]
    same = replace(rows[1], record=replace(rows[1].record, split="validation"))
    assert list(dealt([rows[0], same])[1]) == [0]
