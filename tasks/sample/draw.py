"""Draws one or two scans side by side, in an ink on a paper: the sample's pictures.

    composite = plan(pool, rng)        # what to draw: number "47", ink "red", paper "yellow", which scans
    image = draw(composite, pool, rng) # 96 x 96 RGB; place, size, tilt and shade differ from call to call

No ink has the name of a paper, so a question about one cannot be answered with the other.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tasks.sample.scans import Pool

SIDE = 96
"""Width and height of a picture in pixels."""
INKS = {
    "black": (20, 20, 24),
    "red": (200, 24, 32),
    "blue": (28, 48, 200),
    "green": (16, 120, 40),
}
PAPERS = {
    "white": (248, 248, 246),
    "yellow": (250, 232, 90),
    "pink": (252, 184, 206),
    "grey": (176, 178, 180),
}
SHADE = 9
"""How far a colour's channels may be from the values above, so that papers of one colour differ a little."""
TILT = 3
"""Degrees by which a digit may lean."""


@dataclass(frozen=True)
class Composite:
    """What a picture shows."""

    digits: tuple[int, ...]
    """One or two, from left to right."""
    scans: tuple[int, ...]
    """Where the digits' scans are in their pool."""
    ink: str
    paper: str

    @property
    def number(self) -> str:
        """The digits as read."""
        return "".join(map(str, self.digits))


def plan(pool: Pool, rng: np.random.Generator, two_digits: float = 0.6) -> Composite:
    """What to draw next, at random; two-digit numbers do not start with 0."""
    first = int(rng.integers(1, 10))
    digits = (first, int(rng.integers(10))) if rng.random() < two_digits else (int(rng.integers(10)),)
    return Composite(
        digits=digits,
        scans=tuple(int(rng.choice(pool.of(digit))) for digit in digits),
        ink=str(rng.choice(list(INKS))),
        paper=str(rng.choice(list(PAPERS))),
    )


def draw(composite: Composite, pool: Pool, rng: np.random.Generator) -> Image.Image:
    """The picture, `SIDE` x `SIDE` RGB."""
    image = Image.new("RGB", (SIDE, SIDE), _shade(PAPERS[composite.paper], rng))
    ink = _shade(INKS[composite.ink], rng)
    cell = SIDE // len(composite.digits)
    for place, scan in enumerate(composite.scans):
        smallest, largest, aside = (46, 52, 2) if cell < SIDE else (60, 70, 5)
        size = int(rng.integers(smallest, largest + 1))
        mask = _mask(pool.scans[scan], size, float(rng.uniform(-TILT, TILT)))
        # a digit may reach a little over its half: scans have empty margins
        left = place * cell + (cell - size) // 2 + int(rng.integers(-aside, aside + 1))
        top = (SIDE - size) // 2 + int(rng.integers(-5, 6))
        image.paste(ink, (left, top), mask)
    return image


def _mask(scan: NDArray[np.float32], size: int, tilt: float) -> Image.Image:
    """A scan as an alpha channel of `size` x `size` pixels; edges a little sharper than the interpolation leaves."""
    small = Image.fromarray((scan * 255).astype(np.uint8))
    large = small.resize((size, size), Image.Resampling.BICUBIC).rotate(tilt, Image.Resampling.BILINEAR)
    return large.point(_SHARPER)


_SHARPER = [min(255, max(0, int((value - 40) * 1.5))) for value in range(256)]


def _shade(color: tuple[int, int, int], rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = np.clip(np.array(color) + rng.integers(-SHADE, SHADE + 1, 3), 0, 255).tolist()
    return red, green, blue
