"""Pairs whose text does not fit the picture are found by how little the picture stands out among others."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from prepare_data import paint

from tasks.errors import LavaflowError
from tasks.prepare.align import cut_of, find_misaligned, judged_text, score_pairs, standardized
from tasks.prepare.encoder import DualEncoder

CPU = torch.device("cpu")


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_a_wrong_text_scores_low_even_if_its_wording_is_close_to_every_picture():
    rng = np.random.default_rng(0)
    common = np.eye(64)[0]  # what all pictures of the data have in common
    own = unit(rng.normal(size=(200, 64)) * (1 - common))
    images = unit(own + common)
    wrong = np.arange(200) % 20 == 0
    texts = np.where(wrong[:, None], np.roll(own, 7, axis=0), own) + 0.05 * rng.normal(size=own.shape)
    texts[:100] += 5 * common  # vague words, which fit anything
    texts = unit(texts)
    cosines, scores = (images * texts).sum(axis=1), standardized(images, texts, images)
    assert cosines[:100][wrong[:100]].mean() > np.median(cosines[100:])
    assert scores[wrong].max() < scores[~wrong].min()


def test_short_answers_are_not_judged():
    assert judged_text("yes", 3) is None
    assert judged_text("A red lamp.", 3) == "A red lamp."


def test_at_most_the_worst_share_of_the_judged_rows_is_dropped():
    scores = [None, 0.5, 3.0, -1.0, 2.0, None, 0.1, 1.0, 1.0, 1.0, 4.0, 5.0]
    cut = cut_of(scores, drop=0.2)
    assert {place: verdict.reason for place, verdict in find_misaligned(scores, cut).items()} == {
        3: "misaligned",
        6: "misaligned",
    }
    assert find_misaligned([1.0, 1.0, 1.0], cut_of([1.0, 1.0, 1.0], drop=0.5)) == {}
    assert len(find_misaligned(scores, cut_of(scores, drop=1.0))) == 10
    assert cut_of([None, None], drop=0.5) is None


def test_an_encoder_gives_the_same_unit_vectors_whatever_the_batch(tiny_clip: Path):
    images = [paint(seed, side=40 + seed) for seed in range(7)]
    texts = ["a red lamp", "x", "a blue chair on a white table " * 20]
    one, many = DualEncoder(tiny_clip, CPU, batch_size=1), DualEncoder(tiny_clip, CPU, batch_size=64)
    assert np.allclose(one.images(images), many.images(images), atol=1e-5)
    assert np.allclose(one.texts(texts), many.texts(texts), atol=1e-5)
    assert np.allclose(np.linalg.norm(one.texts(texts), axis=1), 1, atol=1e-5)


def test_scores_do_not_depend_on_the_batch_and_a_few_pictures_are_too_few_to_judge(tiny_clip: Path):
    images = {f"{seed:02x}": paint(seed) for seed in range(20)}

    def open_image(sha: str) -> Image.Image:
        return images[sha]

    pairs = [(sha, text) for sha in images for text in ("a red lamp", "a blue chair on a table")]
    scores = [list(score_pairs(DualEncoder(tiny_clip, CPU, size), pairs, open_image)) for size in (3, 64)]
    assert len(scores[0]) == len(pairs)
    assert np.allclose(scores[0], scores[1], atol=1e-2)
    assert list(score_pairs(DualEncoder(tiny_clip, CPU, 64), pairs[:10], open_image)) == []


def test_a_folder_without_a_clip_is_an_error_that_names_it(tmp_path: Path):
    with pytest.raises(LavaflowError, match=str(tmp_path)):
        DualEncoder(tmp_path, CPU, 8)
