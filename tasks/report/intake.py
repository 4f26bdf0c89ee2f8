"""The report's section `Data`: what came in, what was dropped and why, and where the alignment filter cut."""

import json
from dataclasses import dataclass
from itertools import islice

from tasks.dataset import SPLITS, Dataset, Quarantined
from tasks.prepare.card import AlignmentCard, Card, Example
from tasks.refs import DatasetRef
from tasks.report.plot import Line, Plot, Scale, bars, path, x_ticks, y_ticks
from tasks.report.thumbs import Thumbs

SOURCES = 12
"""Sources that are listed; the others are counted."""


@dataclass(frozen=True)
class Dropped:
    """A quarantined row to be looked at."""

    where: str
    detail: str
    text: str
    """The row's text if the line could be read, else the line."""
    picture: str | None
    """Data URI."""


@dataclass(frozen=True)
class Reason:
    """One rule and what it dropped."""

    name: str
    rows: int
    width: float
    """Of its bar, in percent of the most frequent reason's."""
    examples: list[Dropped]


@dataclass(frozen=True)
class Part:
    """A part of the rows that came in."""

    name: str
    rows: int
    percent: float


@dataclass(frozen=True)
class Alignment:
    """The filter's histogram; `cut` is the share of the axis, in percent."""

    card: AlignmentCard
    plot: Plot
    cut: float | None


@dataclass(frozen=True)
class Intake:
    """All of the section."""

    rows: int
    kept: int
    parts: list[Part]
    reasons: list[Reason]
    sources: list[tuple[str, int]]
    more_sources: int
    images: int
    groups: int
    alignment: Alignment | None


def make_intake(ref: DatasetRef, data: Dataset, thumbs: Thumbs) -> Intake:
    """Read the dataset's card and the rows that it shows."""
    card = Card.model_validate_json((ref.folder / "card.json").read_bytes())
    shown = {(one.source, one.line) for examples in card.examples.values() for one in examples}
    originals = {(row.source, row.line): row for row in data.quarantined() if (row.source, row.line) in shown}
    most = max(ref.reasons.values(), default=1)
    reasons = sorted(ref.reasons.items(), key=lambda item: (-item[1], item[0]))
    splits = [name for name in SPLITS if name in ref.splits] + sorted(set(ref.splits) - set(SPLITS))
    counts = [(name, ref.splits[name]) for name in splits] + [("quarantined", sum(ref.reasons.values()))]
    sources = sorted(card.sources.items(), key=lambda item: (-item[1], item[0]))
    return Intake(
        rows=ref.rows,
        kept=sum(ref.splits.values()),
        parts=[Part(name, rows, round(100 * rows / max(1, ref.rows), 3)) for name, rows in counts],
        reasons=[
            Reason(
                name=name,
                rows=rows,
                width=round(100 * rows / most, 2),
                examples=[_dropped(one, originals, thumbs) for one in card.examples.get(name, [])],
            )
            for name, rows in reasons
        ],
        sources=list(islice(sources, SOURCES)),
        more_sources=max(0, len(sources) - SOURCES),
        images=card.images,
        groups=card.groups,
        alignment=_alignment(card.alignment) if card.alignment and card.alignment.judged else None,
    )


def _dropped(one: Example, originals: dict[tuple[str, int], Quarantined], thumbs: Thumbs) -> Dropped:
    row = originals.get((one.source, one.line))
    text = _text(row.original) if row else ""
    return Dropped(f"{one.source}:{one.line}", one.detail, text, thumbs.uri(one.image))


def _text(line: str) -> str:
    """What a row says, of any of its forms; the line itself if it is not one."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return line
    if isinstance(row, dict):
        if isinstance(row.get("text"), str):
            return row["text"]
        if isinstance(row.get("conversations"), list):
            turns = [turn.get("value") for turn in row["conversations"] if isinstance(turn, dict)]
            return "\n".join(turn for turn in turns if isinstance(turn, str))
    return line


def _alignment(card: AlignmentCard) -> Alignment:
    edges = card.kept.edges
    x = Scale(edges[0], edges[-1])
    totals = [kept + dropped for kept, dropped in zip(card.kept.counts, card.dropped.counts, strict=True)]
    y = Scale(0, max(1, *totals) * 1.04)
    places = [x.share(edge) for edge in edges]
    floors = [y.share(count) for count in card.dropped.counts]
    kept = bars(places, floors, [y.share(count) for count in card.kept.counts])
    dropped = bars(places, [0.0] * len(floors), floors)
    lines = [Line("fill-kept", kept), Line("fill-dropped", dropped)]
    if card.cut is not None:
        lines.append(Line("cut", path([(x.share(card.cut), 0), (x.share(card.cut), 1)])))
    cut = None if card.cut is None else round(100 * x.share(card.cut), 2)
    return Alignment(card, Plot(lines, x_ticks(x, 7), y_ticks(y, 4), []), cut)
