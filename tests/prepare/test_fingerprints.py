"""Near copies of a picture are found without comparing all pairs."""

import io
from itertools import combinations

import numpy as np
import pytest
from PIL import Image, ImageOps
from prepare_data import paint

from tasks.prepare.fingerprints import fingerprint, near_hashes, near_pairs


def recompressed(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=40)
    return Image.open(buffer).convert("RGB")


@pytest.mark.parametrize("hamming", [0, 1, 4, 7, 16])
def test_the_index_finds_exactly_the_pairs_that_a_comparison_of_all_finds(hamming: int):
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2**64, 60, dtype=np.uint64)
    flips = [
        np.bitwise_or.reduce(np.uint64(1) << rng.choice(64, n % 9, replace=False).astype(np.uint64)) for n in range(60)
    ]
    hashes = np.concatenate([base, base ^ np.array(flips, dtype=np.uint64), base[:5]])
    expected = {
        (i, j)
        for i, j in combinations(range(len(hashes)), 2)
        if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= hamming
    }
    found = {tuple(sorted(pair)) for batch in near_hashes(hashes, hamming) for pair in batch.tolist()}
    assert found == expected


def test_recompressed_and_resized_copies_are_near_and_other_pictures_are_not():
    images = [paint(seed) for seed in range(200)]
    copies = [recompressed(image) for image in images] + [image.resize((61, 61)) for image in images]
    pairs = near_pairs([fingerprint(image) for image in images + copies], hamming=4, color=12).tolist()
    among_others = [(i, j) for i, j in pairs if i % 200 != j % 200]
    assert len(pairs) - len(among_others) >= 0.95 * 600
    assert not among_others


def test_pictures_that_differ_in_colour_only_are_not_copies():
    image = paint(3)
    red, green, blue = image.split()
    turned = Image.merge("RGB", (red, blue, green)).convert("L")  # brightness close to the original's
    gray = ImageOps.grayscale(image)
    prints = [fingerprint(image), fingerprint(gray.convert("RGB")), fingerprint(turned.convert("RGB"))]
    assert near_pairs(prints[:2], hamming=4, color=12).tolist() == []
    assert near_pairs(prints[:2], hamming=4, color=255).tolist() == [[0, 1]]


def test_no_pictures_no_pairs():
    assert near_pairs([], hamming=4, color=12).shape == (0, 2)
