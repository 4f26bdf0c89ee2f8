"""The sample's benchmarks have the official layouts: the readers of the real ones read them."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tasks import recipe
from tasks.evaluate import mme, mmmu, textvqa
from tasks.sample.benchmarks import write_mme, write_mmmu, write_textvqa
from tasks.sample.questions import YES_NO
from tasks.sample.scans import deal


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def test_mme_has_official_folders_with_one_yes_and_one_no_a_picture(tmp_path: Path, rng: np.random.Generator):
    pictures = write_mme(deal(17)["mme"], tmp_path / "MME", 4, rng)
    questions = mme.read(recipe.Benchmark(path=str(tmp_path / "MME")))
    assert Counter(question.category for question in questions) == dict.fromkeys(YES_NO, 8)
    assert set(YES_NO) <= set(mme.PERCEPTION)
    answers: dict[str, list[str]] = {}
    for question in questions:
        answers.setdefault(question.group, []).append(question.expected[0])
    assert all(sorted(both) == ["No", "Yes"] for both in answers.values())
    assert len(answers) == len(pictures) == 20
    line = (tmp_path / "MME" / "color" / "0000.txt").read_text().splitlines()[0]
    assert line.partition("\t")[0].endswith(" Please answer yes or no.")


def test_textvqa_has_ten_answers_of_which_most_agree(tmp_path: Path, rng: np.random.Generator):
    pictures = write_textvqa(deal(17)["textvqa"], tmp_path, 15, rng)
    questions = textvqa.read(recipe.TextVqa(path=str(tmp_path)))
    assert len(questions) == 30
    for question in questions:
        commonest = Counter(question.expected).most_common(1)[0][0]
        assert textvqa.judge(question, commonest).score == 1
    assert {answer.strip("theis ") for answer in questions[0].expected} & {pictures[0].shown.number}
    items = json.loads((tmp_path / "TextVQA_0.5.1_val.json").read_text())["data"]
    assert all("\n" not in item["question"] for item in items)
    for picture in pictures:
        assert (tmp_path / picture.name.removeprefix("textvqa/")).read_bytes() == picture.data


def test_mmmu_is_parquet_as_on_the_hub_with_both_question_types(tmp_path: Path, rng: np.random.Generator):
    pictures = write_mmmu(deal(17)["mmmu"], tmp_path, 25, rng)
    questions = mmmu.read(recipe.Benchmark(path=str(tmp_path)))
    assert Counter(question.category for question in questions) == {"Math": 25, "Art": 25}
    assert {question.question_type for question in questions} == {"multiple-choice", "open"}
    shown = {picture.name: picture.shown for picture in pictures}
    for question in questions:
        known = shown[question.id]
        facts = (("one", "two")[len(known.digits) - 1], known.ink, known.paper)
        right = question.expected[0]
        if question.question_type == "multiple-choice":
            right = question.options["ABCD".index(right)]
        assert right in facts
        assert question.text.startswith("<image>\n<image 1> ")
        assert [picture.read() for picture in question.images] == [
            next(one.data for one in pictures if one.name == question.id)
        ]
