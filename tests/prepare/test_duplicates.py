"""Rows that repeat a picture with its text go, and the best copy stays."""

from pathlib import Path

from PIL import Image
from prepare_data import paint, question

from tasks.prepare.duplicates import Copies, find_duplicates
from tasks.prepare.records import Line, parse
from tasks.prepare.rows import Candidate, examine, pictures_of
from tasks.recipe import Images


def candidates(folder: Path, *rows: tuple[Image.Image, str, str | None]) -> list[Candidate]:
    """Rows of (picture, answer, split)."""
    found = []
    for number, (image, answer, split) in enumerate(rows, start=1):
        path = folder / f"{number}.png"
        image.save(path)
        row = question(path.name, answer=answer, **({"split": split} if split else {}))
        found.append(Candidate(parse(Line("r", number, str(row).replace("'", '"'))), examine(path, Images())))
    return found


def verdicts(rows: list[Candidate]) -> dict[int, str]:
    copies = Copies(pictures_of(rows), hamming=4, color=12)
    return {place: verdict.reason for place, verdict in find_duplicates(rows, copies).items()}


def test_the_first_of_equal_rows_stays(tmp_path: Path):
    assert verdicts(candidates(tmp_path, (paint(1), "x", None), (paint(2), "x", None), (paint(1), "x", None))) == {
        2: "duplicate"
    }


def test_equal_pixels_in_another_file_format_are_an_exact_duplicate(tmp_path: Path):
    rows = candidates(tmp_path, (paint(1), "x", None))
    paint(1).save(tmp_path / "a.webp", lossless=True)
    other = examine(tmp_path / "a.webp", Images())
    assert other.sha != rows[0].picture.sha
    assert verdicts([*rows, Candidate(rows[0].record, other)]) == {1: "duplicate"}


def test_the_largest_of_near_copies_stays(tmp_path: Path):
    small, large = paint(1).resize((60, 60)), paint(1).resize((150, 150))
    rows = candidates(tmp_path, (small, "x", None), (paint(1), "x", None), (large, "x", None))
    assert verdicts(rows) == {0: "near_duplicate", 1: "near_duplicate"}


def test_the_same_picture_with_another_text_is_not_a_repetition(tmp_path: Path):
    assert verdicts(candidates(tmp_path, (paint(1), "x", None), (paint(1), "y", None))) == {}


def test_a_hold_out_row_does_not_vanish_because_training_has_a_better_copy(tmp_path: Path):
    rows = candidates(tmp_path, (paint(1).resize((150, 150)), "x", "train"), (paint(1), "x", "holdout"))
    assert verdicts(rows) == {0: "near_duplicate"}


def test_likeness_does_not_creep_from_row_to_row(tmp_path: Path):
    blends = [Image.blend(paint(1), paint(2), step / 60) for step in range(61)]
    rows = candidates(tmp_path, *((image, "x", None) for image in blends))
    assert len(rows) - len(verdicts(rows)) > 3
