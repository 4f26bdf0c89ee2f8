"""TextVQA by the m4c rules."""

import json

import pytest

from tasks.errors import LavaflowError
from tasks.evaluate.score import read_predictions, score_file
from tasks.evaluate.textvqa import TEXTVQA, accuracy, normalize, read
from tasks.recipe import TextVqa


def section(path, **options):
    return TextVqa(path=str(path), **options)


def test_questions_are_put_as_llava_puts_them(textvqa_folder):
    question = read(section(textvqa_folder))[0]
    assert question.text == "<image>\nwhat brand is it?\nAnswer the question using a single word or phrase."
    assert (question.id, question.group, question.variant) == ("34602", "aaa", "llava")
    assert question.images[0].read() == (textvqa_folder / "train_images" / "aaa.jpg").read_bytes()


def test_ocr_tokens_go_into_the_prompt_and_the_variant_says_so(textvqa_folder):
    question = read(section(textvqa_folder, ocr_tokens=True))[0]
    assert "\nReference OCR token: DAKOTA, 1999\nAnswer" in question.text
    assert question.variant == "llava + OCR tokens"


def test_images_may_lie_in_a_folder_called_images(textvqa_folder):
    (textvqa_folder / "train_images").rename(textvqa_folder / "images")
    assert len(read(section(textvqa_folder))) == 3


def test_missing_files_are_named(textvqa_folder):
    (textvqa_folder / "train_images" / "bbb.jpg").unlink()
    with pytest.raises(LavaflowError, match="no image bbb for question 34604"):
        read(section(textvqa_folder))
    (textvqa_folder / "TextVQA_Rosetta_OCR_v0.2_val.json").unlink()
    with pytest.raises(LavaflowError, match="Rosetta"):
        read(section(textvqa_folder, ocr_tokens=True))
    with pytest.raises(LavaflowError, match=r"TextVQA_0\.5\.1_val\.json|no image folder"):
        read(section(textvqa_folder / "absent"))


def test_an_image_id_cannot_lead_out_of_the_folder(textvqa_folder, draw):
    (textvqa_folder / "secret.jpg").write_bytes(draw(1))
    path = textvqa_folder / "TextVQA_0.5.1_val.json"
    path.write_text(path.read_text().replace('"aaa"', '"../secret"'))
    with pytest.raises(LavaflowError, match=r"no image \.\./secret"):
        read(section(textvqa_folder))


def test_files_of_another_form_are_refused(textvqa_folder):
    path = textvqa_folder / "TextVQA_0.5.1_val.json"
    nine = path.read_text().replace('["ten", "ten",', '["ten",')
    path.write_text(nine)
    with pytest.raises(LavaflowError, match="34604: `answers` must be a list of 10"):
        read(section(textvqa_folder))
    path.write_text(nine.replace("image_id", "picture"))
    with pytest.raises(LavaflowError, match="no `image_id`"):
        read(section(textvqa_folder))
    path.write_text("[]")
    with pytest.raises(LavaflowError, match="not of TextVQA's form"):
        read(section(textvqa_folder))


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("5.", "5"),
        ("it's", "it 's"),
        ("10,000", "10000"),
        ("The Ten of A kind", "10 of kind"),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("hed", "he'd"),
        ("'ows'at", "'ow's'at"),
        ("somebody'd", "somebodyd"),
        ("well-known", "well known"),
        ("well- known", "well known"),
        ("x/y 1,,2", "x y 12"),
        ("3.5 o.k.", "3.5 ok"),
        ("." * 40, "." * 8),  # no more than 32 periods go
    ],
)
def test_normalization_keeps_the_official_oddities(answer, normal):
    assert normalize(answer) == normal


@pytest.mark.parametrize(("same", "expected"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_accuracy_is_the_mean_over_leaving_one_human_out(same, expected):
    assert accuracy("Yes.", ["yes"] * same + ["no"] * (10 - same)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", ["textvqa_fuzz.jsonl", "textvqa_llava15_13b_first1500.jsonl"])
def test_every_row_agrees_with_the_official_scorer(oracle, name):
    rows = [json.loads(line) for line in oracle(name).open(encoding="utf-8", newline="\n")]
    assert [answer.score for answer in read_predictions(TEXTVQA, oracle(name))] == [row["accuracy"] for row in rows]
    for row in rows:
        assert normalize(row["prediction"]) == row.get("normalized", normalize(row["prediction"]))


def test_the_known_mean_comes_out(oracle):
    assert f"{score_file('textvqa', oracle('textvqa_llava15_13b_first1500.jsonl')).value:.2f}" == "61.76"
