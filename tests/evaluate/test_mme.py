"""MME as its authors read and score it."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.errors import LavaflowError
from tasks.evaluate.mme import COGNITION, MME, PERCEPTION, label, read
from tasks.evaluate.score import read_predictions, score_file
from tasks.recipe import Benchmark

PUBLISHED = {  # LaVIN-13B, of the official repository
    "perception": "963.61",
    "cognition": "249.64",
    "existence": "185.00",
    "count": "88.33",
    "position": "63.33",
    "color": "75.00",
    "posters": "79.59",
    "celebrity": "47.35",
    "scene": "136.75",
    "landmark": "93.50",
    "artwork": "87.25",
    "OCR": "107.50",
    "commonsense_reasoning": "87.14",
    "numerical_calculation": "65.00",
    "text_translation": "47.50",
    "code_reasoning": "50.00",
}


def section(path):
    return Benchmark(path=str(path))


def test_folders_and_parquet_hold_the_same_questions(mme_folder, mme_parquet):
    folders, parquet = read(section(mme_folder)), read(section(mme_parquet))
    assert len(folders) == 8

    def content(questions):
        return {q.id: (q.text, q.expected, q.category, q.group, [p.sha for p in q.images]) for q in questions}

    assert content(folders) == content(parquet)


def test_the_question_is_put_as_llava_puts_it(mme_folder):
    questions = {question.id: question for question in read(section(mme_folder))}
    ending = "\nAnswer the question using a single word or phrase."
    assert questions["existence/000001.jpg#1"].text == "<image>\nIs there a dog?" + ending
    assert questions["code_reasoning/0001.png#2"].text == "<image>\nIs it C?" + ending  # two spaces in the file
    assert questions["posters/tt1.jpg#1"].text == "<image>\nIs it titled a\tb?" + ending
    assert questions["posters/tt1.jpg#1"].expected == ("Yes",)


def test_an_image_scores_twice_only_if_both_its_questions_are_right(mme_folder):
    right = {"existence/000001.jpg#2", "code_reasoning/0001.png#1", "code_reasoning/0001.png#2"}
    answers = [
        MME.answer(question, question.expected[0] if question.id in right else "Well", [], None)
        for question in read(section(mme_folder))
    ]
    score = MME.score(answers)
    assert score.details["existence"] == 50.0
    assert score.details["code_reasoning"] == 200.0
    # the same image name in another category is another image
    assert score.details["text_translation"] == 0.0
    assert (score.details["perception"], score.details["cognition"], score.value) == (50.0, 200.0, 250.0)
    assert score.unparsed == 5


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [("Yes", "yes"), ("  NO, it", "no"), ("not sure", "no"), ("I say yes", "other"), ("a yes", "other"), ("", "other")],
)
def test_only_the_first_four_characters_count(prediction, expected):
    assert label(prediction) == expected


def test_parquet_ids_without_a_category_are_told_apart_by_it(mme_parquet):
    path = next(mme_parquet.rglob("*.parquet"))
    rows = pq.read_table(path).to_pylist()
    rows = [{**row, "question_id": row["question_id"].rpartition("/")[2]} for row in rows]
    pq.write_table(pa.Table.from_pylist(rows), path)
    questions = read(section(mme_parquet))
    assert len({question.id for question in questions}) == 8
    assert len({question.group for question in questions}) == 4


def test_an_image_that_is_missing_is_named(mme_folder):
    (mme_folder / "existence" / "000001.jpg").unlink()
    with pytest.raises(LavaflowError, match=r"000001\.txt: no image 000001"):
        read(section(mme_folder))


def test_a_category_of_ones_own_is_refused(mme_folder):
    (mme_folder / "existence").rename(mme_folder / "elephants")
    with pytest.raises(LavaflowError, match="no category elephants"):
        read(section(mme_folder))


def test_an_empty_or_missing_folder_is_refused(tmp_path):
    with pytest.raises(LavaflowError, match="no MME questions"):
        read(section(tmp_path))
    with pytest.raises(LavaflowError, match="is no folder"):
        read(section(tmp_path / "absent"))


def test_labels_agree_with_the_official_rule_on_every_adversarial_answer(oracle):
    rows = [json.loads(line) for line in oracle("mme_fuzz.jsonl").open(encoding="utf-8", newline="\n")]
    assert len(rows) == 1000
    assert [label(row["prediction"]) for row in rows] == [row["label"] for row in rows]
    for row, answer in zip(rows, read_predictions(MME, oracle("mme_fuzz.jsonl")), strict=True):
        assert answer.score == float(row["label"] == row["answer"].lower())
        assert answer.parsed == (row["label"] != "other")


def test_published_figures_come_out_to_the_last_digit(oracle):
    score = score_file("mme", oracle("mme_lavin13b.jsonl"))
    assert {name: f"{figure:.2f}" for name, figure in score.details.items()} == PUBLISHED
    assert score.asked == 2374
    assert set(PERCEPTION) | set(COGNITION) | {"perception", "cognition"} == set(PUBLISHED)
