"""The report's section `Questions`: accuracy by kind of question, and some wins and losses with their pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from tasks.evaluate.answers import Answer, by_category, points, read_answers
from tasks.refs import EvalReport
from tasks.release.bundle import HOLDOUT
from tasks.report.inputs import ReportInputs
from tasks.report.scores import title
from tasks.report.thumbs import Thumbs

KINDS = 40
"""Kinds that are listed of a benchmark: their names come from the data, and there may be any number."""
SHOWN = 6
"""Wins, and losses."""


@dataclass(frozen=True)
class Kind:
    """One kind of question: points of the candidate, and of the champion if it was asked."""

    name: str
    questions: int
    candidate: float
    champion: float | None


@dataclass(frozen=True)
class Kinds:
    """One benchmark's kinds, the most frequent ones if there are very many."""

    title: str
    kinds: list[Kind]
    more: int


@dataclass(frozen=True)
class Shown:
    """A question on which candidate and champion differ."""

    kind: str
    question: str
    expected: str
    candidate: str
    champion: str
    pictures: list[str]


@dataclass(frozen=True)
class Questions:
    """All of the section."""

    kinds: list[Kinds]
    wins: list[Shown]
    losses: list[Shown]
    all_wins: int
    all_losses: int
    compared: bool
    """Whether there was a champion to differ from."""


def make_questions(inputs: ReportInputs, thumbs: Thumbs) -> Questions | None:
    """The candidate's answers beside the champion's; None if it was not evaluated."""
    if inputs.candidate is None:
        return None
    names = sorted(inputs.candidate.scores, key=lambda name: (name != HOLDOUT, name))
    ours = {name: _answers(inputs.candidate, name) for name in names}
    champion = inputs.champion
    theirs = {name: _answers(champion, name) if champion and name in champion.scores else [] for name in names}
    kinds = [_kinds(name, ours[name], theirs[name]) for name in names]
    wins, losses = _decided(ours.get(HOLDOUT, []), theirs.get(HOLDOUT, []))
    return Questions(
        kinds=[one for one in kinds if len(one.kinds) > 1],
        wins=[_shown(pair, thumbs) for pair in _of_every_kind(wins)[:SHOWN]],
        losses=[_shown(pair, thumbs) for pair in _of_every_kind(losses)[:SHOWN]],
        all_wins=len(wins),
        all_losses=len(losses),
        compared=bool(theirs.get(HOLDOUT)),
    )


Pair = tuple[Answer, Answer]
"""The candidate's answer and the champion's."""


def _answers(report: EvalReport, name: str) -> list[Answer]:
    return [answer for answer in read_answers(report.folder / f"{name}.jsonl") if not answer.failed]


def _kinds(name: str, ours: Sequence[Answer], theirs: Sequence[Answer]) -> Kinds:
    before = by_category(theirs)
    kinds = sorted(by_category(ours).items(), key=lambda item: (-len(item[1]), item[0]))
    listed = [
        Kind(kind, len(members), points(members), points(before[kind]) if kind in before else None)
        for kind, members in sorted(kinds[:KINDS])
    ]
    return Kinds(title(name), listed, max(0, len(kinds) - KINDS))


def _decided(ours: Sequence[Answer], theirs: Sequence[Answer]) -> tuple[list[Pair], list[Pair]]:
    """Questions that the candidate answers better, and those that it answers worse."""
    known = {answer.id: answer for answer in theirs}
    both = [(answer, known[answer.id]) for answer in ours if answer.id in known]
    wins = [pair for pair in both if pair[0].score > pair[1].score]
    return wins, [pair for pair in both if pair[0].score < pair[1].score]


def _of_every_kind(pairs: Sequence[Pair]) -> list[Pair]:
    """The same pairs, kinds taking turns, so that the first few show all sorts."""
    kinds: dict[str, list[Pair]] = {}
    for pair in pairs:
        kinds.setdefault(pair[0].category, []).append(pair)
    return [pair for turn in zip_longest(*kinds.values()) for pair in turn if pair]


def _shown(pair: Pair, thumbs: Thumbs) -> Shown:
    ours, theirs = pair
    pictures = [uri for sha in ours.images[:3] if (uri := thumbs.uri(sha))]
    expected = " / ".join(dict.fromkeys(ours.expected))
    return Shown(ours.category, ours.question, expected, ours.prediction or "", theirs.prediction or "", pictures)
