"""Which rows calibrate, and what the model is given of them."""

import random
from collections import Counter
from pathlib import Path

import pytest
from quantize_data import KINDS, make_row

from tasks.dataset import Dataset
from tasks.models import load_processor
from tasks.quantize.calibration import Inputs, spread, unseen
from tasks.refs import DatasetRef, ModelRef

ROWS = [make_row(kind, n, [], "train") for kind, count in KINDS.items() for n in range(count)]


@pytest.fixture(scope="module")
def inputs(merged: ModelRef, data: DatasetRef) -> Inputs:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(merged.path)
    return Inputs(Dataset(Path(data.path)), load_processor(merged.path), config)


def test_every_beginning_holds_each_kind_in_proportion() -> None:
    assert Counter(row.kind for row in spread(ROWS)[:20]) == {"number": 12, "color": 6, "text": 2}


def test_the_choice_does_not_depend_on_the_order_of_the_rows() -> None:
    shuffled = random.Random(1).sample(ROWS, len(ROWS))
    assert spread(shuffled) == spread(ROWS)


def test_rows_to_check_with_did_not_calibrate_and_start_with_the_validation_split(data: DatasetRef) -> None:
    dataset = Dataset(Path(data.path))
    calibrated = spread(dataset.rows("train"))[:8]
    rows = unseen(dataset, calibrated)
    assert {row.split for row in rows[:6]} == {"validation"}
    assert not {row.id for row in rows} & {row.id for row in calibrated}
    assert len(rows) == 6 + 40 - 8


def test_a_row_with_a_picture_gives_its_pixels_and_a_place_for_each_of_its_features(
    inputs: Inputs, data: DatasetRef
) -> None:
    row = next(row for row in Dataset(Path(data.path)).rows("train") if row.images)
    batch = inputs(row)
    assert batch["pixel_values"].shape == (1, 3, 48, 48)
    assert int((batch["input_ids"] == inputs.maker.image_id).sum()) == 16
    assert batch["attention_mask"].shape == batch["input_ids"].shape == (1, len(inputs.answers(row)) + 1)
    assert inputs.answers(row).any()


def test_a_row_without_a_picture_gives_text_only(inputs: Inputs) -> None:
    assert "pixel_values" not in inputs(make_row("text", 3, [], "train"))


def test_rows_beyond_the_context_are_passed_over(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    long, short = make_row("text", 6, [], "train"), make_row("text", 0, [], "train")
    monkeypatch.setattr(inputs, "context", inputs(short)["input_ids"].shape[1])
    assert inputs.take([long, short, long], 3) == [short]
