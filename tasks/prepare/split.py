"""Deals rows into train, validation and hold-out, so that no near copy of a picture straddles two of them.

    places, verdicts = deal(candidates, copies, recipe.prepare.split)

Rows that show near copies of a picture, or that name the same `group`, are one group. A row's own `split` is obeyed
and carries its group along; a group where nobody says anything is dealt by a hash of its name and the seed, and
it is named by what came first in the sources: rows that are added behind do not move it. Only a new picture that is a
near copy of two old groups makes one of them, in the older one's split.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.prepare.duplicates import STRICTNESS, Copies
from tasks.prepare.records import Rejected
from tasks.prepare.rows import Candidate, Verdicts
from tasks.recipe import Split


@dataclass(frozen=True)
class Place:
    """Where a row goes."""

    split: str
    group: str


class Union:
    """Disjoint sets (union-find with path halving); a set's root is the member that was named first."""

    def __init__(self) -> None:
        self.parent: dict[str, str] = {}
        self.order: dict[str, int] = {}

    def root(self, item: str) -> str:
        """The first member of the item's set."""
        parent = self.parent
        self.order.setdefault(item, len(self.order))
        parent.setdefault(item, item)
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def join(self, one: str, other: str) -> None:
        """Make one set of the two items' sets."""
        first, later = sorted((self.root(one), self.root(other)), key=self.order.__getitem__)
        self.parent[later] = first


def deal(candidates: Sequence[Candidate], copies: Copies, split: Split) -> tuple[list[Place], Verdicts]:
    """Each candidate's place, and verdicts `straddles_split` on those whose own `split` is not their group's.

    Where rows of one group name different splits, hold-out goes before validation before train: the row that would
    leak into training is the one that goes.
    """
    groups = _groups(candidates, copies)
    decided: dict[str, str] = {}
    for candidate, group in zip(candidates, groups, strict=True):
        own = candidate.record.split
        if own and STRICTNESS[own] < STRICTNESS[decided.get(group)]:
            decided[group] = own
    places = [Place(decided.get(group) or _dealt(group, split), group) for group in groups]
    verdicts = {
        number: Rejected("straddles_split", f"says {own}, but a near copy or its group is in {places[number].split}")
        for number, candidate in enumerate(candidates)
        if (own := candidate.record.split) and own != places[number].split
    }
    return places, verdicts


def _groups(candidates: Sequence[Candidate], copies: Copies) -> list[str]:
    """Each candidate's group, named by the first `group` or picture of it in the sources."""
    union = Union()
    sha_of: dict[int, str] = {}
    for candidate in candidates:
        sha, look = candidate.picture.sha, copies.look[candidate.picture.sha]
        if candidate.record.group is not None:
            union.join(f"group {candidate.record.group}", _by_picture(sha))
        union.join(_by_picture(sha_of.setdefault(look, sha)), _by_picture(sha))
    for one, other in copies.pairs:
        if one in sha_of and other in sha_of:
            union.join(_by_picture(sha_of[one]), _by_picture(sha_of[other]))
    return [union.root(_by_picture(candidate.picture.sha)) for candidate in candidates]


def _by_picture(sha: str) -> str:
    return f"picture {sha[:16]}"


def _dealt(group: str, split: Split) -> str:
    """A split for a group about which nobody has said anything."""
    drawn = int.from_bytes(hashlib.sha256(f"{split.seed}:{group}".encode()).digest()[:8], "big") / 2**64
    if drawn < split.holdout:
        return "holdout"
    return "validation" if drawn < split.holdout + split.validation else "train"
