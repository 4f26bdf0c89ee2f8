"""The gates: what a candidate must show to replace the champion, each with what was measured and what was needed.

    table = judge(bundle, champion_report, recipe.promote.gates, smoke, barred=None)
    table.holds, table.text()

Pure: nothing is moved, no registry is asked. Every gate is scored on the weights that will be served. "Better by a
point" would promote almost half of all equal models, so the hold-out is decided by a one-sided exact test at a stated
level, and a benchmark is worse only if the lower end of its paired interval says so.
"""

import math

from pydantic import BaseModel, ConfigDict

from tasks.console import table
from tasks.errors import LavaflowError
from tasks.evaluate.compare import Paired, compare
from tasks.recipe import Gates, Recipe
from tasks.refs import DatasetRef, EvalReport, Form, Score
from tasks.release.bundle import HOLDOUT, Bundle
from tasks.release.smoke import SmokeResult

SAME_ANSWERS = 0.95
"""Share of the smoke test's answers that must equal the offline ones. Other kernels and batches flip a word here and
there; more than that, and what serves is not what was evaluated."""


class Gate(BaseModel):
    """One row of the table."""

    model_config = ConfigDict(frozen=True)

    name: str
    holds: bool
    measured: str
    """In words and figures."""
    needed: str


class GateTable(BaseModel):
    """All gates of one candidate."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    rows: list[Gate]
    paired: list[Paired]
    """The comparisons with the champion that the rows speak of."""

    @property
    def holds(self) -> bool:
        """Whether every gate does."""
        return all(row.holds for row in self.rows)

    @property
    def failing(self) -> list[str]:
        """Names of the gates that do not hold."""
        return [row.name for row in self.rows if not row.holds]

    def text(self) -> str:
        """The table for a terminal."""
        rows = [("ok" if row.holds else "FAILS", row.name, row.measured, row.needed) for row in self.rows]
        return table(rows, ("", "gate", "measured", "needed"))


def check_holdout(recipe: Recipe, data: DatasetRef) -> None:
    """Whether a candidate could pass at all, before it is trained.

    Raises:
        LavaflowError: the hold-out has so few questions that even a win on all of them would prove nothing.
    """
    level, found = recipe.promote.gates.level, data.splits.get("holdout", 0)
    least = math.ceil(-math.log2(level))  # the sign test's p of n wins and no loss is 2**-n
    if found < least:
        raise LavaflowError(
            f"the hold-out has {found} questions; with fewer than {least} no model can be shown to be better at "
            f"level {level:g}: raise prepare.split.holdout, or bring more data"
        )


def judge(
    candidate: Bundle,
    champion: EvalReport,
    gates: Gates,
    smoke: SmokeResult | None,
    barred: str | None = None,
) -> GateTable:
    """Judge a candidate.

    Args:
        candidate: the new version.
        champion: what the serving version's served weights answered to the same questions.
        gates: the recipe's.
        smoke: what came of asking it in the serving engine; None if it was not tried.
        barred: why the version may not be promoted, if it may not.

    Raises:
        LavaflowError: the two were asked different questions, or the candidate's served form was not evaluated.
    """
    weights = candidate.serve_weights
    report = candidate.report(weights)
    holdout = compare(report, champion, HOLDOUT, level=gates.level)
    rows, paired = [_better(holdout, gates)], [holdout]
    for name in sorted((set(report.scores) | set(champion.scores)) - {HOLDOUT}):
        if name in report.scores and name in champion.scores:
            paired.append(compare(report, champion, name))
            rows.append(_not_worse(paired[-1], gates))
        else:
            who = "the champion" if name in report.scores else "the candidate"
            rows.append(Gate(name=f"{name} not worse", holds=False, measured=f"{who} was not asked", needed="both"))
    if candidate.form(weights) in ("gptq", "awq"):
        rows.append(_quantized(candidate, weights, gates))
    rows.append(_budget("failed", "without an answer", report.scores, gates.max_failed))
    rows.append(_budget("unparsed", "unreadable", report.scores, gates.max_unparsed))
    rows += [_endings(candidate), _serves(smoke), _not_barred(barred)]
    return GateTable(rows=rows, paired=paired)


def _interval(paired: Paired) -> str:
    return f"{paired.difference:+.1f} points (95%: {paired.low:+.1f} to {paired.high:+.1f})"


def _better(paired: Paired, gates: Gates) -> Gate:
    measured = (
        f"{paired.champion:.1f} -> {paired.candidate:.1f}, {_interval(paired)}; {paired.wins} questions better, "
        f"{paired.losses} worse of {paired.n}; p = {paired.p_better:.2g}"
    )
    needed = f"p at most {gates.level:g}"
    if not (holds := paired.p_better <= gates.level):
        needed += f" (from about {paired.minimum_detectable:.1f} points on it can be told)"
    return Gate(name="hold-out better", holds=holds, measured=measured, needed=needed)


def _not_worse(paired: Paired, gates: Gates) -> Gate:
    return Gate(
        name=f"{paired.benchmark} not worse",
        holds=paired.low >= -gates.margin,
        measured=f"{paired.champion:.1f} -> {paired.candidate:.1f}, {_interval(paired)}",
        needed=f"lower end at least {-gates.margin:+.1f}",
    )


def _quantized(candidate: Bundle, weights: Form, gates: Gates) -> Gate:
    name = f"{weights} near merged"
    needed = f"hold-out at least {-gates.quantized_drop:+.1f} points"
    if "merged" not in candidate.reports:
        return Gate(name=name, holds=False, measured="the merged weights were not evaluated", needed=needed)
    paired = compare(candidate.report(weights), candidate.reports["merged"], HOLDOUT)
    # the point estimate: these are the same weights, rounded, and the hold-out gate has judged the rounded ones
    return Gate(
        name=name,
        holds=paired.difference >= -gates.quantized_drop,
        measured=f"{paired.champion:.1f} -> {paired.candidate:.1f}, {_interval(paired)}",
        needed=needed,
    )


def _budget(field: str, words: str, scores: dict[str, Score], most: float) -> Gate:
    # a question without an answer cannot have an unreadable one
    asked = {name: score.asked - (score.failed if field == "unparsed" else 0) for name, score in scores.items()}
    shares = {name: getattr(score, field) / max(1, asked[name]) for name, score in scores.items()}
    worst = max(shares, key=lambda name: shares[name])
    return Gate(
        name=f"answers {words}",
        holds=shares[worst] <= most,
        measured=f"{getattr(scores[worst], field)} of {asked[worst]} ({worst})",
        needed=f"at most {most:.1%} of each benchmark",
    )


def _endings(candidate: Bundle) -> Gate:
    ended = {ending.stage: ending.reason for ending in candidate.endings}
    missing = [stage for stage in candidate.plan if stage not in ended]
    said = [f"{stage} by {reason}" for stage, reason in ended.items()] + [f"{stage} not run" for stage in missing]
    return Gate(
        name="training ended",
        holds=not missing and "diverged" not in ended.values(),
        measured=", ".join(said) or "no training",
        needed="every stage by its rule",
    )


def _serves(smoke: SmokeResult | None) -> Gate:
    needed = f"all answered, {SAME_ANSWERS:.0%} as offline"
    if smoke is None:
        return Gate(name="serves", holds=False, measured="not tried", needed=needed)
    measured = f"{smoke.engine}: {smoke.answered} of {smoke.asked} answered, {smoke.same} as offline"
    holds = 0 < smoke.asked == smoke.answered and smoke.same >= SAME_ANSWERS * smoke.asked
    return Gate(name="serves", holds=holds, measured=measured, needed=needed)


def _not_barred(barred: str | None) -> Gate:
    return Gate(name="not barred", holds=barred is None, measured=barred or "not barred", needed="not barred")
