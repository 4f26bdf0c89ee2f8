"""Rows that repeat a picture and its text; the best copy stays.

    copies = Copies(pictures_of(candidates), hamming=4, color=12)
    verdicts = find_duplicates(candidates, copies)

A picture with another question is not a repetition. Among copies the one of the strictest split stays (a hold-out row
must not vanish because training has its twin), then the one with most pixels, then the first.
"""

from collections import defaultdict
from collections.abc import Sequence

from tasks.dataset import Message
from tasks.prepare.fingerprints import near_pairs
from tasks.prepare.records import Rejected
from tasks.prepare.rows import Candidate, PictureFile, Verdicts

STRICTNESS = {"holdout": 0, "validation": 1, "train": 2, None: 3}
"""Whose claim on a picture comes first."""


class Copies:
    """Which pictures are near copies of which.

    Pictures of equal hash and thumbnail are one *look*; looks, not pictures, are compared with one another.
    """

    def __init__(self, pictures: Sequence[PictureFile], hamming: int, color: float) -> None:
        looks: dict[tuple[int, bytes], int] = {}
        self.look = {p.sha: looks.setdefault((p.print.phash, p.print.thumbnail), len(looks)) for p in pictures}
        """sha -> number of its look."""
        prints = {self.look[picture.sha]: picture.print for picture in pictures}
        self.pairs: list[tuple[int, int]] = near_pairs([prints[n] for n in range(len(looks))], hamming, color).tolist()
        """Pairs of looks that are near copies."""
        self.near: dict[int, set[int]] = {number: {number} for number in range(len(looks))}
        """Look -> looks that are near copies of it, itself among them."""
        for one, other in self.pairs:
            self.near[one].add(other)
            self.near[other].add(one)


def find_duplicates(candidates: Sequence[Candidate], copies: Copies) -> Verdicts:
    """Condemn repetitions: `duplicate` (the same pixels) and `near_duplicate` (a near copy), the text being the same.

    A copy is compared with the rows that stay, not with other copies: likeness must not creep from row to row.
    """
    kept: dict[tuple[Message, ...], dict[int, list[Candidate]]] = defaultdict(lambda: defaultdict(list))
    verdicts: Verdicts = {}
    for place in sorted(range(len(candidates)), key=lambda place: (_rank(candidates[place]), place)):
        candidate = candidates[place]
        look = copies.look[candidate.picture.sha]
        twins = kept[candidate.record.messages]
        if found := [twin for near in sorted(copies.near[look] & twins.keys()) for twin in twins[near]]:
            verdicts[place] = _verdict(candidate, found)
        else:
            twins[look].append(candidate)
    return verdicts


def _rank(candidate: Candidate) -> tuple[int, int]:
    return STRICTNESS[candidate.record.split], -candidate.picture.width * candidate.picture.height


def _verdict(candidate: Candidate, twins: Sequence[Candidate]) -> Rejected:
    same = [twin for twin in twins if twin.picture.print.pixels == candidate.picture.print.pixels]
    line = (same or twins)[0].record.line
    if same:
        return Rejected("duplicate", f"the same picture and text as {line.source} line {line.number}")
    return Rejected("near_duplicate", f"a near copy of the picture in {line.source} line {line.number}, the same text")
