"""Is the candidate better than the champion, or was it luck? Both answered the same questions: compare in pairs.

    paired = compare(candidate, champion, "holdout")
    paired.p_better <= 0.05                  # better by a one-sided exact test
    paired.low > -2.0                        # not worse by two points or more, with 97.5% confidence

Questions that share a picture are not independent, so whatever is random here is drawn picture by picture: the
bootstrap draws groups with replacement (Efron & Tibshirani, 1993, ch. 6 and 13), and the test is McNemar's exact one
(1947), which is a sign test, over groups in place of questions. Where every question has a picture of its own it is
McNemar's test as one knows it.
"""

import math
from collections.abc import Iterable, Sequence
from statistics import NormalDist

import numpy as np
from pydantic import BaseModel, ConfigDict

from tasks.errors import LavaflowError
from tasks.evaluate.answers import Answer, read_answers
from tasks.refs import EvalReport

RESAMPLES = 10_000
CONFIDENCE = 0.95
POWER = 0.8
SEED = 17


class Paired(BaseModel):
    """Candidate against champion on one benchmark; differences in points, positive where the candidate is better."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    benchmark: str
    n: int
    """Questions that both answered."""
    failed: int
    """Questions left out because one of the two has no answer to them."""
    wins: int
    """Questions on which the candidate scores higher."""
    losses: int
    """Questions on which the champion scores higher."""
    groups: int
    """Pictures, or whatever the questions share: what is drawn."""
    candidate: float
    """Mean score in points."""
    champion: float
    """Mean score in points."""
    difference: float
    low: float
    """Lower end of the 95% interval of the difference, by paired bootstrap."""
    high: float
    """Upper end."""
    p_better: float
    """Chance of a result at least as good for the candidate if both were equal: one-sided, exact."""
    minimum_detectable: float
    """Points by which the candidate must truly be better for the test to notice it in 80% of cases."""


def compare(candidate: EvalReport, champion: EvalReport, benchmark: str, *, level: float = 0.05) -> Paired:
    """Two evaluations over the same questions.

    Args:
        candidate: the new model's.
        champion: the serving model's.
        benchmark: a name among the reports' scores.
        level: of the one-sided test that `minimum_detectable` is about.

    Raises:
        LavaflowError: one of them did not run the benchmark, or they were asked different questions.
    """
    for report in (candidate, champion):
        if benchmark not in report.scores:
            raise LavaflowError(f"{report.path}: {benchmark} was not evaluated; there are {', '.join(report.scores)}")
    ours, theirs = (read_answers(report.folder / f"{benchmark}.jsonl") for report in (candidate, champion))
    return pair(ours, theirs, benchmark, level=level)


def pair(candidate: Sequence[Answer], champion: Sequence[Answer], benchmark: str, *, level: float = 0.05) -> Paired:
    """`compare` over answers in memory."""
    both = _match(candidate, champion, benchmark)
    answered = [(ours, theirs) for ours, theirs in both if not (ours.failed or theirs.failed)]
    if not answered:
        raise LavaflowError(f"{benchmark}: there is no question that both models answered")
    gains = [ours.score - theirs.score for ours, theirs in answered]
    sums = _by_group([ours.group for ours, _ in answered], gains)
    low, high, error = _bootstrap(sums)
    wins, losses = sum(total > 0 for total, _ in sums), sum(total < 0 for total, _ in sums)
    return Paired(
        benchmark=benchmark,
        n=len(answered),
        failed=len(both) - len(answered),
        wins=sum(gain > 0 for gain in gains),
        losses=sum(gain < 0 for gain in gains),
        groups=len(sums),
        candidate=_points(ours.score for ours, _ in answered),
        champion=_points(theirs.score for _, theirs in answered),
        difference=_points(gains),
        low=round(100 * low, 4),
        high=round(100 * high, 4),
        p_better=sign_test(wins, losses),
        minimum_detectable=round(100 * _detectable(error, len(answered), level), 4),
    )


def _match(candidate: Sequence[Answer], champion: Sequence[Answer], benchmark: str) -> list[tuple[Answer, Answer]]:
    theirs = {answer.id: answer for answer in champion}
    if different := {answer.id for answer in candidate} ^ theirs.keys():
        raise LavaflowError(
            f"{benchmark}: the models were asked different questions ({len(different)} are in one report only, such as "
            f"{min(different)}); evaluate both with the same recipe and data"
        )
    matched = [(answer, theirs[answer.id]) for answer in candidate]
    for ours, other in matched:
        if (ours.question, ours.expected, ours.group) != (other.question, other.expected, other.group):
            raise LavaflowError(f"{benchmark}: question {ours.id} is not the same in both reports; evaluate both again")
    return matched


def _points(scores: Iterable[float]) -> float:
    return round(100 * float(np.mean(list(scores))), 4)


def _by_group(groups: Sequence[str], gains: Sequence[float]) -> list[tuple[float, int]]:
    """For each group the sum of its gains and its number of questions."""
    members: dict[str, list[float]] = {}
    for group, gain in zip(groups, gains, strict=True):
        members.setdefault(group, []).append(gain)
    return [(round(math.fsum(found), 9), len(found)) for found in members.values()]


def _bootstrap(groups: Sequence[tuple[float, int]]) -> tuple[float, float, float]:
    """Ends of the interval and standard error of the mean gain a question, groups drawn with replacement.

    Many groups are alike (a win of one question out of two, say), so drawing groups is drawing how often each kind
    comes: one multinomial a resample.
    """
    kinds, counts = np.unique(np.array(groups), axis=0, return_counts=True)  # (kinds, 2), (kinds,)
    drawn = np.random.default_rng(SEED).multinomial(len(groups), counts / len(groups), size=RESAMPLES)
    gains = (drawn @ kinds[:, 0]) / (drawn @ kinds[:, 1])
    low, high = np.quantile(gains, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high), float(gains.std())


def sign_test(wins: int, losses: int) -> float:
    """One-sided exact p-value: the chance of at least so many wins if each decided case were a fair coin."""
    decided = wins + losses
    return sum(math.comb(decided, count) for count in range(wins, decided + 1)) / 2**decided


def _detectable(error: float, questions: int, level: float) -> float:
    """The gain that a one-sided test at `level` notices with probability `POWER`, at the differences' spread seen.

    However alike the two models are, the exact test needs so many wins without a loss before it can speak.
    """
    normal = NormalDist()
    fewest_wins = math.ceil(math.log2(1 / level))
    return max((normal.inv_cdf(1 - level) + normal.inv_cdf(POWER)) * error, fewest_wins / questions)
