"""From raw rows with every sort of defect to a dataset: nothing is lost, and nothing is done twice."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from prepare_data import paint, question, write_rows

from tasks.dataset import Dataset
from tasks.errors import LavaflowError
from tasks.prepare.card import Card
from tasks.prepare.stage import prepare
from tasks.recipe import Recipe
from tasks.refs import DatasetRef

SOURCE = "data/shop/rows.jsonl"


def recipe(**sections: Any) -> Recipe:
    stage = {"name": "s", "projector": {"train": "full", "lr": 1e-3}, "until": {"steps": 1}}
    return Recipe.model_validate(
        {
            "model": {"base": "none", "device": "cpu"},
            "prepare": {"sources": [SOURCE], "split": {"holdout": 0.2, "validation": 0.1}}
            | sections.pop("prepare", {}),
            "train": {"stages": [stage]},
            "promote": {"model_name": "m"},
            **sections,
        }
    )


@pytest.fixture
def shop(workspace: Path) -> Path:
    """40 good rows about 40 pictures, and one row of every defect."""
    folder = workspace / "data" / "shop"
    rows: list[Any] = []
    (folder / "img").mkdir(parents=True)
    for number in range(40):
        paint(number).save(folder / f"img/{number}.png")
        rows.append(question(f"img/{number}.png", "What is it?", f"It is lamp number {number}.", kind="read"))
    paint(3).resize((70, 70)).save(folder / "img/near.jpg", quality=60)
    paint(99).save(folder / "img/in_mme.png")
    (folder / "img/cut.png").write_bytes((folder / "img/1.png").read_bytes()[:300])
    (folder / "img/page.png").write_text("<html>")
    rows += [
        question("img/3.png", "What is it?", "It is lamp number 3."),
        question("img/near.jpg", "What is it?", "It is lamp number 3."),
        question("img/in_mme.png"),
        question("img/cut.png"),
        question("img/page.png"),
        question("img/none.png"),
        question("../../secret.png"),
        question("img/0.png", "What is it?", ""),
        '{"image": "img/0.png", "text": "Ques',
        {"image": "img/0.png", "text": "nothing of the sort"},
    ]
    write_rows(folder / "rows.jsonl", rows)
    bench = workspace / "MME" / "color"
    bench.mkdir(parents=True)
    paint(99).save(bench / "a.png")
    return folder


REASONS = {
    "duplicate": 1,
    "near_duplicate": 1,
    "in_benchmark": 1,
    "broken_image": 1,
    "not_an_image": 1,
    "missing_image": 1,
    "bad_path": 1,
    "answer_missing": 1,
    "bad_json": 1,
    "bad_row": 1,
}
MME = {"evaluate": {"mme": {"path": "MME"}}}


def test_every_row_is_kept_or_quarantined_for_the_right_reason(shop: Path):
    ref = prepare(recipe(**MME))
    data = Dataset(ref.folder)
    quarantined = list(data.quarantined())
    assert ref.reasons == REASONS == dict(Counter(item.reason for item in quarantined))
    assert ref.rows == 50 == len(data.all_rows) + len(quarantined)
    lines = shop.joinpath("rows.jsonl").read_text().splitlines()
    assert all(item.original == lines[item.line - 1] for item in quarantined)
    assert [item.line for item in quarantined] == list(range(41, 51))
    assert sorted([row.line for row in data.all_rows] + [item.line for item in quarantined]) == list(range(1, 51))


def test_rows_carry_their_pictures_splits_and_kinds(shop: Path):
    ref = prepare(recipe(**MME))
    data = Dataset(ref.folder)
    first = data.all_rows[0]
    assert data.image_bytes(first.images[0]) == (shop / "img/0.png").read_bytes()
    assert data.image_size(first.images[0]) == (96, 96)
    assert [message.content for message in first.messages] == ["<image>\nWhat is it?", "It is lamp number 0."]
    assert (first.kind, first.source, first.line) == ("read", SOURCE, 1)
    assert ref.splits == dict(sorted(Counter(row.split for row in data.all_rows).items()))
    assert set(ref.splits) == {"train", "validation", "holdout"}


def test_the_card_counts_and_shows_examples(shop: Path):
    ref = prepare(recipe(**MME))
    card = Card.model_validate_json((ref.folder / "card.json").read_bytes())
    assert (card.rows, card.kept, card.quarantined, card.reasons) == (50, 40, 10, REASONS)
    assert card.sources == {SOURCE: 50}
    assert {split: sum(kinds.values()) for split, kinds in card.kinds.items()} == card.splits
    assert sum(card.longer_sides.counts) == card.images == 40
    assert card.examples["broken_image"][0].path == "img/cut.png"
    contaminated = card.examples["in_benchmark"][0].image
    assert contaminated
    assert Dataset(ref.folder).image(contaminated).getpixel((0, 0)) == paint(99).getpixel((0, 0))


def test_a_second_run_is_the_first_one_and_changed_data_is_not(shop: Path):
    first = prepare(recipe())
    assert prepare(recipe()) == first
    assert prepare(recipe(prepare={"images": {"min_side": 29}})).path != first.path
    paint(1000).save(shop / "img/5.png")
    changed = prepare(recipe())
    assert changed.path != first.path
    (shop / "img/none.png").write_bytes((shop / "img/0.png").read_bytes())
    assert prepare(recipe()).reasons != changed.reasons


def test_a_picture_that_a_benchmark_gains_is_not_trained_on(shop: Path):
    first = prepare(recipe(**MME))
    paint(7).save("MME/color/b.png")
    assert prepare(recipe(**MME)).reasons["in_benchmark"] == first.reasons["in_benchmark"] + 1


def test_the_same_data_gives_the_same_bytes(shop: Path):
    first = prepare(recipe(**MME))
    first.folder.rename("elsewhere")
    assert prepare(recipe(**MME)) == first


def test_duplicates_are_kept_where_the_recipe_says_so(shop: Path):
    ref = prepare(recipe(prepare={"duplicates": None}))
    assert not {"duplicate", "near_duplicate"} & set(ref.reasons)
    rows = Dataset(ref.folder).all_rows
    assert len({row.group for row in rows if row.messages[1].content == "It is lamp number 3."}) == 1


def aligned(clip: Path, drop: float) -> DatasetRef:
    return prepare(recipe(prepare={"alignment": {"model": str(clip), "drop": drop, "min_words": 3}}))


def test_the_worst_fitting_share_is_quarantined_and_every_judged_row_keeps_its_score(shop: Path, tiny_clip: Path):
    ref = aligned(tiny_clip, 0.1)
    data = Dataset(ref.folder)
    dropped = [item for item in data.quarantined() if item.reason == "misaligned"]
    judged = [row.alignment for row in data.all_rows if row.alignment is not None]
    unjudged = [row for row in data.all_rows if row.alignment is None]
    assert len(dropped) == 4  # a tenth of 41 judged rows
    assert max(item.alignment or 0 for item in dropped) < min(judged)
    assert {row.messages[1].content for row in unjudged} == {"A lamp."}
    card = Card.model_validate_json((ref.folder / "card.json").read_bytes())
    assert card.alignment
    assert (sum(card.alignment.kept.counts), sum(card.alignment.dropped.counts)) == (len(judged), 4)


def test_moving_the_cut_scores_nothing_again(shop: Path, tiny_clip: Path):
    def scored() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in Path("runs/alignment-scores").glob("*/manifest.json")}

    aligned(tiny_clip, 0.1)
    before = scored()
    assert aligned(tiny_clip, 0.2).reasons["misaligned"] == 8
    assert scored() == before
    assert len(before) == 1


def test_an_unchanged_run_does_not_import_torch(shop: Path, tiny_clip: Path):
    first = aligned(tiny_clip, 0.1)
    code = (
        "import json, sys; from tasks.recipe import Recipe; from tasks.prepare.stage import prepare\n"
        "ref = prepare(Recipe.model_validate_json(sys.stdin.read())); print(ref.path, 'torch' in sys.modules)"
    )
    text = recipe(prepare={"alignment": {"model": str(tiny_clip), "drop": 0.1, "min_words": 3}}).model_dump_json()
    done = subprocess.run([sys.executable, "-c", code], input=text, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [first.path, "False"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda shop: (shop / "rows.jsonl").unlink(), f"{SOURCE} is not there"),
        (lambda shop: (shop / "rows.jsonl").write_text("\n"), f"{SOURCE} holds no rows"),
        (lambda shop: (shop / "img").rename(shop / "pictures"), "not one picture"),
        (lambda shop: (shop / "rows.jsonl").write_text('{"image": 1}\n{\n'), "not one of 2 rows is fit"),
    ],
)
def test_data_that_cannot_be_used_is_one_clear_line(shop: Path, change: Any, words: str):
    change(shop)
    with pytest.raises(LavaflowError, match=words) as caught:
        prepare(recipe())
    assert str(caught.value).count("\n") <= 2, "a line, and one for each reason that dropped every row"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prepare": {"sources": ["s3://shop/rows.jsonl"]}}, "s3://shop/rows.jsonl"),
        ({"prepare": {"alignment": {"model": "models/none/clip"}}}, "models/none/clip"),
        ({"evaluate": {"mmmu": {"path": "no/MMMU"}}}, "no/MMMU"),
    ],
)
def test_a_part_of_the_recipe_that_is_not_there_is_named(shop: Path, changes: Any, words: str):
    with pytest.raises(LavaflowError, match=words):
        prepare(recipe(**changes))


def test_a_line_of_llavas_own_form_is_read_too(shop: Path):
    turns = [{"from": "human", "value": "<image>\nColour?"}, {"from": "gpt", "value": "Red."}]
    write_rows(shop / "rows.jsonl", [{"image": "img/7.png", "conversations": turns, "split": "holdout"}])
    ref = prepare(recipe())
    assert ref.splits == {"holdout": 1}
    assert json.loads((ref.folder / "card.json").read_text())["kept"] == 1
