"""Batched answers are the answers one would get question by question."""

import io
import random

import pytest
import torch
from PIL import Image

from tasks.dataset import Message
from tasks.errors import LavaflowError
from tasks.evaluate.answers import Picture, Question
from tasks.evaluate.engine import generate, load_for_evaluation, plan
from tasks.refs import ModelRef


def ref(folder, form="base"):
    return ModelRef(path=str(folder), digest="0", form=form, bytes=0)


@pytest.fixture(scope="module")
def loaded(tiny_llava):
    return load_for_evaluation(ref(tiny_llava), dtype="float32", device=torch.device("cpu"))


def question(number, images=(), words=1, group=""):
    text = "<image>\n" * len(images) + "Which number is shown? " * words
    turn = Message(role="user", content=text)
    return Question(id=f"q{number}", expected=("x",), messages=(turn,), images=tuple(images), group=group)


def mixed(draw, count=24):
    """Prompts of one to seven sentences with no, one or two pictures, some of them shared."""
    return [
        question(n, [Picture.stored(str(n // 2 + k), draw(n // 2 + k)) for k in range(n % 3)], words=1 + n % 7)
        for n in range(count)
    ]


def ask(loaded, questions, batch_size=8, **options):
    replies = generate(*loaded, questions, batch_size=batch_size, max_new_tokens=8, **options)
    return {question.id: reply for question, reply in replies}


def test_batched_answers_equal_single_ones_for_all_lengths_and_numbers_of_images(loaded, draw):
    questions = mixed(draw)
    together, alone = ask(loaded, questions), ask(loaded, questions, batch_size=1)
    assert together == alone
    assert len({reply.text for reply in together.values()}) > 3  # and they do depend on the question
    assert all(reply.error is None for reply in together.values())


def test_answers_are_what_the_model_says_when_asked_plainly(loaded, draw):
    model, processor = loaded
    asked = question(0, [Picture.stored("1", draw(1)), Picture.stored("2", draw(2))])
    prompt = "USER: <image>\n<image>\nWhich number is shown? ASSISTANT:"
    pictures = [Image.open(io.BytesIO(draw(number))).convert("RGB") for number in (1, 2)]
    inputs = processor(text=prompt, images=pictures, return_tensors="pt")
    tokens = model.generate(**inputs, max_new_tokens=8, do_sample=False)[:, inputs["input_ids"].shape[1] :]
    assert ask(loaded, [asked])["q0"].text == processor.tokenizer.decode(tokens[0], skip_special_tokens=True).strip()


def test_an_answer_ends_at_the_end_token_and_the_others_of_its_batch_go_on(loaded, draw, monkeypatch):
    model, processor = loaded
    questions = mixed(draw, 6)
    seen = []
    original = model.generate
    monkeypatch.setattr(model, "generate", lambda **inputs: seen.append(original(**inputs)) or seen[-1])
    ask(loaded, questions)
    said = dict(zip((asked.id for asked in plan(questions, 8)[0]), seen[0][:, -8:].tolist(), strict=True))
    end = said["q0"][2]
    assert {end in tokens for tokens in said.values()} == {True, False}
    monkeypatch.setattr(model.generation_config, "eos_token_id", end)
    for name, reply in ask(loaded, questions).items():
        spoken = said[name][: said[name].index(end) + 1] if end in said[name] else said[name]
        assert reply.text == processor.tokenizer.decode(spoken, skip_special_tokens=True).strip()


def test_the_features_of_a_shared_picture_are_computed_once(loaded, draw, monkeypatch):
    model, _ = loaded
    seen = []
    original = model.get_image_features
    monkeypatch.setattr(model, "get_image_features", lambda pixels: seen.append(len(pixels)) or original(pixels))
    ask(loaded, [question(n, [Picture.stored("1", draw(1))], words=1 + n) for n in range(4)])
    assert seen == [1]


def test_the_plan_is_a_function_of_the_questions_alone(draw):
    questions = mixed(draw) + [question(n, group="shared") for n in range(30, 36)]
    shuffled = random.Random(1).sample(questions, len(questions))
    batches = [[question.id for question in batch] for batch in plan(questions, 5)]
    assert batches == [[question.id for question in batch] for batch in plan(shuffled, 5)]
    assert sorted(name for batch in batches for name in batch) == sorted(question.id for question in questions)


def test_the_plan_puts_like_lengths_and_shared_pictures_together(draw):
    picture = Picture.stored("1", draw(1))
    questions = [question(n, [picture], words=1 + n // 2 * 4, group=f"g{n // 2}") for n in range(8)]
    batches = plan(random.Random(0).sample(questions, 8), 2)
    assert [sorted(question.id for question in batch) for batch in batches] == [
        ["q6", "q7"],
        ["q4", "q5"],
        ["q2", "q3"],
        ["q0", "q1"],
    ]


def test_what_cannot_be_answered_fails_alone_and_with_its_reason(loaded, draw, tmp_path):
    good = mixed(draw, 6)
    truncated = question(10, [Picture.stored("cut", draw(1)[:-40])])
    gone = question(11, [Picture.file(tmp_path / "gone.png")])
    unmarked = Question(id="q12", expected=("x",), messages=(Message(role="user", content="?"),), images=gone.images)
    endless = question(13, words=200)
    replies = ask(loaded, [*good, truncated, gone, unmarked, endless], batch_size=16)
    assert {name: reply.error for name, reply in replies.items() if reply.error} == {
        "q10": replies["q10"].error,
        "q11": f"FileNotFoundError: [Errno 2] No such file or directory: '{tmp_path}/gone.png'",
        "q12": "ValueError: 0 image markers for 1 images",
        "q13": replies["q13"].error,
    }
    assert "truncated" in replies["q10"].error
    assert "do not fit the model's context of 512" in replies["q13"].error
    assert all(replies[name].text is None for name in ("q10", "q11", "q12", "q13"))
    assert {name: replies[name] for name in (q.id for q in good)} == ask(loaded, good)


def test_a_batch_that_runs_out_of_memory_is_asked_question_by_question(loaded, draw, monkeypatch):
    model, _ = loaded
    original = model.generate

    def limited(**inputs):
        long = inputs["attention_mask"].sum(dim=1).max() > 60
        if long:
            raise torch.OutOfMemoryError("no room")
        return original(**inputs)

    questions = mixed(draw, 12)
    whole = ask(loaded, questions)
    monkeypatch.setattr(model, "generate", limited)
    replies = ask(loaded, questions, batch_size=12)
    failed = {name for name, reply in replies.items() if reply.error}
    assert 0 < len(failed) < 12
    assert all(replies[name].error == "OutOfMemoryError: no room" for name in failed)
    assert all(replies[name] == whole[name] for name in replies.keys() - failed)


def test_weights_that_are_not_finite_give_no_answer(tiny_llava, draw):
    model, processor = load_for_evaluation(ref(tiny_llava), dtype="float32", device=torch.device("cpu"))
    model.model.multi_modal_projector.linear_2.weight.data[:] = float("nan")
    replies = ask((model, processor), mixed(draw, 6))
    assert {name for name, reply in replies.items() if reply.error} == {"q1", "q2", "q4", "q5"}  # those with a picture
    assert "not finite" in replies["q1"].error


def test_batches_that_are_done_are_skipped_and_others_keep_their_questions(loaded, draw):
    questions = mixed(draw, 12)
    batches = plan(questions, 4)
    done = {question.id for question in batches[0]} | {batches[1][0].id}
    assert set(ask(loaded, questions, batch_size=4, done=done)) == {q.id for batch in batches[1:] for q in batch}


def test_an_adapter_is_not_evaluated_by_itself(tiny_llava):
    with pytest.raises(LavaflowError, match="merge it first"):
        load_for_evaluation(ref(tiny_llava, "adapter"), dtype="float32", device=torch.device("cpu"))


def test_half_precision_answers_too(tiny_llava, draw):
    loaded = load_for_evaluation(ref(tiny_llava), dtype="bfloat16", device=torch.device("cpu"))
    assert all(reply.error is None for reply in ask(loaded, mixed(draw, 6)).values())
