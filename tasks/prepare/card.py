"""`card.json` of a prepared dataset: what came in, what was dropped and why, what the rest looks like.

card = Card.model_validate_json((ref.folder / "card.json").read_bytes())
card.reasons["misaligned"], card.examples["misaligned"][0].image
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from tasks.dataset import Quarantined, Row
from tasks.prepare.pipeline import Result
from tasks.prepare.records import Line, Rejected, parse

EXAMPLES = 8
"""Dropped rows shown for each reason."""
BINS = 40
SIDES = (0, 32, 64, 128, 256, 512, 1024, 2048, 4096)
HOLDOUT_NOTE = (
    "Rows of every split are judged, the hold-out's too: a wrong answer there would fail good models. "
    "So the hold-out leans to pairs that the judge agrees with."
)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Example(_Part):
    """A dropped row, to be looked at."""

    source: str
    line: int
    detail: str
    image: str | None
    """SHA-256 of its picture in the dataset, if that could be read."""
    path: str | None
    """The picture's path as the row gives it, if the line could be read."""


class Histogram(_Part):
    """Counts between edges; one count less than edges."""

    edges: list[float]
    counts: list[int]


class AlignmentCard(_Part):
    """The alignment filter's view."""

    model: str
    judged: int
    cut: float | None
    """Rows that scored below were dropped; None if none could be judged."""
    kept: Histogram
    dropped: Histogram
    """Over the same edges as `kept`."""
    note: str = HOLDOUT_NOTE


class Card(_Part):
    """A dataset in numbers."""

    rows: int
    """Lines read."""
    sources: dict[str, int]
    """Lines by source."""
    kept: int
    quarantined: int
    reasons: dict[str, int]
    """Quarantined rows by reason, most frequent first."""
    splits: dict[str, int]
    kinds: dict[str, dict[str, int]]
    """split -> kind -> kept rows."""
    groups: int
    """Groups of near copies among the kept rows."""
    images: int
    """Different pictures of kept rows."""
    longer_sides: Histogram
    """Of these pictures, in pixels."""
    alignment: AlignmentCard | None
    examples: dict[str, list[Example]]
    """reason -> dropped rows, each with another picture where there are enough."""


def make_card(lines: Sequence[Line], result: Result, judge: str | None) -> Card:
    """Count what `clean_rows` made of the lines; `judge` names the alignment model."""
    kept = {sha for row in result.rows for sha in row.images}
    sides = [max(result.pictures[sha].width, result.pictures[sha].height) for sha in sorted(kept)]
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for row in result.rows:
        kinds[row.split][row.kind] += 1
    return Card(
        rows=len(lines),
        sources=dict(Counter(line.source for line in lines)),
        kept=len(result.rows),
        quarantined=len(result.quarantined),
        reasons=dict(Counter(item.reason for item in result.quarantined).most_common()),
        splits=dict(Counter(row.split for row in result.rows)),
        kinds={split: dict(counts.most_common()) for split, counts in kinds.items()},
        groups=len({row.group for row in result.rows}),
        images=len(kept),
        longer_sides=_histogram(sides, [*SIDES, max([SIDES[-1], *sides]) + 1]),
        alignment=_alignment(result, judge) if judge else None,
        examples=_examples(result.quarantined),
    )


def _alignment(result: Result, judge: str) -> AlignmentCard:
    kept, dropped = _scores(result.rows), _scores(result.quarantined)
    edges = np.histogram_bin_edges(kept + dropped, bins=BINS).tolist() if kept or dropped else [0.0, 1.0]
    return AlignmentCard(
        model=judge,
        judged=len(kept) + len(dropped),
        cut=result.cut,
        kept=_histogram(kept, edges),
        dropped=_histogram(dropped, edges),
    )


def _scores(items: Iterable[Row | Quarantined]) -> list[float]:
    return [item.alignment for item in items if item.alignment is not None]


def _histogram(values: Sequence[float], edges: Sequence[float]) -> Histogram:
    counts, _ = np.histogram(values, bins=edges)
    return Histogram(edges=list(edges), counts=counts.tolist())


def _examples(quarantined: Sequence[Quarantined]) -> dict[str, list[Example]]:
    found: Mapping[str, dict[str, Example]] = defaultdict(dict)
    for item in quarantined:
        examples = found[item.reason]
        if len(examples) < EXAMPLES:
            path = _path(item)
            example = Example(source=item.source, line=item.line, detail=item.detail, image=item.image, path=path)
            examples.setdefault(item.image or path or item.original, example)
    return {reason: list(examples.values()) for reason, examples in found.items()}


def _path(item: Quarantined) -> str | None:
    try:
        return parse(Line(item.source, item.line, item.original)).image
    except Rejected:
        return None
