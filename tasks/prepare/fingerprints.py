"""How near copies of a picture are found: a 64-bit perceptual hash to search by, a small colour thumbnail to confirm.

    prints = [fingerprint(image) for image in images]
    near_pairs(prints, hamming=4, color=12)     # (n, 2): places of pictures that are copies of one another

The hash is pHash (Zauner, 2010, "Implementation and benchmarking of perceptual image hash functions"): the signs of a
picture's 8x8 lowest cosine frequencies against their median. It survives recompression and resizing, but it ignores
colour and confuses simple pictures; so a match counts only if 16x16 RGB thumbnails agree too.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BITS = 64
SIDE = 8
THUMBNAIL = 16
AT_ONCE = 4096
"""Pairs of thumbnails compared in one step, which bounds memory."""

Pairs = NDArray[np.int64]
"""(n, 2): two places each, the smaller first."""


@dataclass(frozen=True)
class Fingerprint:
    """What is remembered of a picture's pixels."""

    pixels: str
    """SHA-256 (hex) of size and RGB values: equal for equal pictures in different files."""
    phash: int
    thumbnail: bytes
    """16 x 16 x 3 values."""


def fingerprint(image: Image.Image) -> Fingerprint:
    """The fingerprint of an RGB picture."""
    pixels = hashlib.sha256(f"{image.width}x{image.height}:".encode() + image.tobytes()).hexdigest()
    thumbnail = image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return Fingerprint(pixels, phash(image), thumbnail.tobytes())


def phash(image: Image.Image) -> int:
    """The perceptual hash: 64 bits, the lowest frequency in the highest bit."""
    from scipy.fft import dctn  # here, so that an unchanged run does not wait for it

    small = image.convert("L").resize((4 * SIDE, 4 * SIDE), Image.Resampling.LANCZOS)
    waves = dctn(np.asarray(small, dtype=np.float64))[:SIDE, :SIDE]
    return int.from_bytes(np.packbits(waves > np.median(waves)).tobytes(), "big")


def near_pairs(prints: Sequence[Fingerprint], hamming: int, color: float) -> Pairs:
    """All pairs of near copies, each once.

    Args:
        prints: of the pictures; better none twice, since equal ones are compared each with each.
        hamming: bits by which two hashes may differ.
        color: mean absolute difference of two thumbnails (0 to 255) that still counts as a copy.
    """
    hashes = np.array([item.phash for item in prints], dtype=np.uint64)
    found = np.concatenate([np.empty((0, 2), np.int64), *near_hashes(hashes, hamming)])
    pairs = np.unique(np.sort(found, axis=1), axis=0)  # two hashes may meet in several bands
    thumbnails = np.frombuffer(b"".join(item.thumbnail for item in prints), np.uint8).reshape(-1, 3 * THUMBNAIL**2)
    alike = [_distance(thumbnails, pairs[at : at + AT_ONCE]) <= color for at in range(0, len(pairs), AT_ONCE)]
    return pairs[np.concatenate([np.empty(0, bool), *alike])]


def near_hashes(hashes: NDArray[np.uint64], hamming: int) -> Iterator[Pairs]:
    """Pairs of hashes that differ in at most `hamming` bits, in batches; a pair may come more than once.

    Not all pairs are compared: cut into `hamming + 1` bands, two such hashes agree in at least one band (multi-index
    hashing; Norouzi et al., 2012, "Fast search in Hamming space with multi-index hashing"). Sorted by a band, hashes
    that agree in it are neighbours, so each step compares every hash with the one `step` places further on.
    """
    edges = np.linspace(0, BITS, hamming + 2).astype(int).tolist()
    for low, high in pairwise(edges):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(band, kind="stable")
        band = band[order]
        step, first = 1, np.flatnonzero(band[1:] == band[:-1])
        while first.size:
            first = first[first + step < len(band)]
            first = first[band[first] == band[first + step]]
            one, other = order[first], order[first + step]
            close = np.bitwise_count(hashes[one] ^ hashes[other]) <= hamming
            yield np.stack([one[close], other[close]], axis=1)
            step += 1


def _distance(thumbnails: NDArray[np.uint8], pairs: Pairs) -> NDArray[np.float64]:
    one, other = thumbnails[pairs[:, 0]].astype(np.int16), thumbnails[pairs[:, 1]].astype(np.int16)
    return np.abs(one - other).mean(axis=1)
