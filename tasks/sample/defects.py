"""Plants known defects among good training rows and keeps the ledger, so that cleaning can be measured.

    lines, ledger = plant(good, pictures, folder=data, counts=Defects(), rng=rng)
    ledger[0]    # Entry(line=12, defect="near_duplicate", of="3451")

A line that is not in the ledger is a good row, and no two good rows are the same. The defects are named as in
`Defects`; all are in the train split. Rows that repeat another stand somewhere behind it.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from tasks.sample.benchmarks import Picture
from tasks.sample.draw import SIDE
from tasks.sample.rows import Example, as_text, save_image
from tasks.sample.size import Defects

Rng = np.random.Generator

JUDGED_WORDS = 3
"""Texts of fewer words say too little for a CLIP to judge them."""
BROKEN = ("truncated", "not_an_image", "missing")
"""Defects of the image file."""


@dataclass(frozen=True)
class Entry:
    """One planted defect."""

    line: int
    """Line of the JSONL file, from 1."""
    defect: str
    of: str
    """What it refers to: the line that it repeats or whose text it took, a benchmark's picture, or an image file."""

    @property
    def json(self) -> str:
        """The entry as it stands in the ledger."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Planned:
    """A line whose number is not known yet."""

    place: float
    """Lines are sorted by it; 0 to 1."""
    text: str
    defect: str = ""
    """Empty for a good row."""
    of: int | str = ""
    """A good row by its number, or the name of a file."""


def plant(
    good: Sequence[Example], pictures: Sequence[Picture], *, folder: Path, counts: Defects, rng: Rng
) -> tuple[list[str], list[Entry]]:
    """Lines of the JSONL file, and the ledger in their order; the files that defects need are written.

    Args:
        good: rows of all splits.
        pictures: of the benchmarks.
        folder: of the JSONL file; pictures lie in `images/` below it.
        counts: how many of each defect.
        rng: decides which rows and where.
    """
    rows = [Planned(float(place), one.line) for place, one in zip(rng.random(len(good)), good, strict=True)]
    for number, other in _swaps(good, counts.mismatched, rng):
        rows[number] = replace(
            rows[number], text=replace(good[number], text=good[other].text).line, defect="mismatched", of=other
        )
    fine = iter(rng.permutation([n for n, row in enumerate(rows) if good[n].split == "train" and not row.defect]))
    repeats = [("exact_duplicate", counts.exact_duplicates), ("near_duplicate", counts.near_duplicates)]
    broken = [(defect, getattr(counts, defect)) for defect in BROKEN]
    wanted = [defect for defect, count in [*repeats, *broken, ("bad_json", counts.bad_json)] for _ in range(count)]
    extra = []
    for defect, n in zip(wanted, fine, strict=False):  # as many as there are rows for
        behind = float(rng.uniform(rows[n].place, 1))
        extra.append(_spoiled(defect, int(n), good[n], behind, folder, rng))
    for at in rng.permutation(len(pictures))[: counts.contaminated]:
        extra.append(_contaminated(pictures[at], float(rng.random()), folder, rng))
    return _numbered(rows, extra)


def _numbered(rows: list[Planned], extra: list[Planned]) -> tuple[list[str], list[Entry]]:
    planned = rows + extra
    order = sorted(range(len(planned)), key=lambda n: planned[n].place)
    line_of = {n: line for line, n in enumerate(order, start=1)}
    ledger = [
        Entry(line_of[n], one.defect, str(line_of[one.of] if isinstance(one.of, int) else one.of))
        for n, one in ((n, planned[n]) for n in order)
        if one.defect
    ]
    return [planned[n].text for n in order], ledger


def _swaps(good: Sequence[Example], share: float, rng: Rng) -> list[tuple[int, int]]:
    """Training rows that get another's text, and whose: one of the same kind about a picture with another number."""
    judged = [n for n, one in enumerate(good) if one.split == "train" and len(one.answer.split()) >= JUDGED_WORDS]
    swaps = []
    for n in rng.permutation(judged)[: round(share * len(judged))].tolist():
        others = [m for m in judged if good[m].kind == good[n].kind and good[m].shown.number != good[n].shown.number]
        if others:
            swaps.append((n, int(rng.choice(others))))
    return swaps


def _spoiled(defect: str, number: int, row: Example, place: float, folder: Path, rng: Rng) -> Planned:
    """A further line, made from a good row."""
    if defect == "exact_duplicate":
        return Planned(place, row.line, defect, number)
    if defect == "bad_json":
        return Planned(place, _not_json(row.line, rng), defect, number)
    image = f"images/extra-{number:05d}{Path(row.image).suffix}"
    if defect == "near_duplicate":
        image = _near_copy(folder / row.image, folder / image, rng)
    elif defect != "missing":
        data = (folder / row.image).read_bytes()
        cut = data[: int(len(data) * rng.uniform(0.3, 0.8))]
        (folder / image).write_bytes(cut if defect == "truncated" else _no_picture(rng))
    return Planned(place, replace(row, image=image).line, defect, number if defect == "near_duplicate" else image)


def _near_copy(original: Path, copy: Path, rng: Rng) -> str:
    """Recompressed or resized, as pictures are that went through a shop system or a chat; returns the row's `image`."""
    image = Image.open(original).convert("RGB")
    if rng.random() < 0.5:
        side = int(rng.integers(SIDE * 5 // 8, SIDE * 7 // 8))
        save_image(image.resize((side, side), Image.Resampling.BICUBIC), copy)
    else:
        copy = copy.with_suffix(".jpg")
        image.save(copy, quality=int(rng.integers(55, 80)))
    return f"images/{copy.name}"


def _no_picture(rng: Rng) -> bytes:
    """What servers send in place of a picture."""
    found = [b"", b"<!DOCTYPE html><html><body>404 Not Found</body></html>", b'{"error": "forbidden"}', b"GIF89a"]
    return found[int(rng.integers(len(found)))]


def _not_json(line: str, rng: Rng) -> str:
    """Cut off, printed by Python, or with a comma missing."""
    ways = [line[: len(line) // 2], str(json.loads(line)), line.replace('", "', '" "', 1)]
    return ways[int(rng.integers(len(ways)))]


def _contaminated(picture: Picture, place: float, folder: Path, rng: Rng) -> Planned:
    """A training row about a benchmark's picture, the file as it is or recompressed."""
    image = folder / "images" / f"extra-{picture.name.replace('/', '-')}.jpg"
    if rng.random() < 0.5:
        image.write_bytes(picture.data)
    else:
        Image.open(io.BytesIO(picture.data)).convert("RGB").save(image, quality=70)
    kind = str(rng.choice(["number", "yesno", "describe", "generate"]))
    row = Example(f"images/{image.name}", as_text(kind, picture.shown, rng), "train", kind, picture.shown)
    return Planned(place, row.line, "contaminated", picture.name)
