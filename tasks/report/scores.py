"""The report's section `Benchmarks`: scores of all models, and their differences with 95% intervals.

Differences are `tasks.evaluate.compare`'s: the same questions, pair by pair.
"""

from dataclasses import dataclass

from tasks.errors import LavaflowError
from tasks.evaluate.compare import Paired, compare
from tasks.refs import EvalReport, Score
from tasks.release.bundle import HOLDOUT
from tasks.report.inputs import EvalName, ReportInputs
from tasks.report.plot import Scale

ORDER: tuple[EvalName, ...] = ("base", "champion", "merged", "gptq", "awq")
TITLES = {"mme": "MME", "textvqa": "TextVQA", "mmmu": "MMMU", "holdout": "Hold-out"}


@dataclass(frozen=True)
class Model:
    """A column of the score table."""

    name: str
    note: str
    """What part it plays."""
    served: bool


@dataclass(frozen=True)
class Row:
    """A benchmark's line of the score table."""

    title: str
    metric: str
    questions: int
    scores: list[Score | None]
    """One a model."""


@dataclass(frozen=True)
class Difference:
    """Two models on one benchmark, and where the interval lies on the common axis, in percent."""

    title: str
    paired: Paired
    left: float
    width: float
    dot: float
    margin: float | None
    """Where the largest loss that the gates allow lies; None where they do not look, or ask for more."""

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `even`: where the interval lies."""
        return "better" if self.paired.low > 0 else "worse" if self.paired.high < 0 else "even"


@dataclass(frozen=True)
class Comparison:
    """Two models on all benchmarks."""

    ours: str
    theirs: str
    decides: bool
    """Whether the gates look at this one."""
    aside: bool
    """Whether it is there for completeness only."""
    differences: list[Difference]
    refused: list[str]
    """Benchmarks on which the two cannot be compared, with the reason."""


@dataclass(frozen=True)
class Benchmarks:
    """All of the section."""

    models: list[Model]
    rows: list[Row]
    comparisons: list[Comparison]
    zero: float
    """Where no difference lies on the comparisons' axis, in percent."""


def title(name: str) -> str:
    """A benchmark's name as people write it."""
    return TITLES.get(name, name)


def make_benchmarks(inputs: ReportInputs) -> Benchmarks | None:
    """Tables of every benchmark that any model answered; None if there is none."""
    reports = {name: inputs.evaluations[name] for name in ORDER if name in inputs.evaluations}
    named = sorted({name for report in reports.values() for name in report.scores}, key=_hold_out_first)
    if not named:
        return None
    made = {pair: _compare_all(inputs, pair, named) for pair in _pairs(inputs, reports)}
    intervals = [paired for found, _ in made.values() for paired in found]
    low = min([-inputs.recipe.promote.gates.margin, -1.0, *(paired.low for paired in intervals)])
    high = max([1.0, *(paired.high for paired in intervals)])
    scale = Scale(low * 1.05, high * 1.05)
    return Benchmarks(
        models=[_model(inputs, name) for name in reports],
        rows=[_row(name, [report.scores.get(name) for report in reports.values()]) for name in named],
        comparisons=[_comparison(inputs, pair, *found, scale) for pair, found in made.items() if any(found)],
        zero=_percent(scale, 0),
    )


def _hold_out_first(name: str) -> tuple[bool, int, str]:
    known = list(TITLES)
    return name != HOLDOUT, known.index(name) if name in known else len(known), name


def _model(inputs: ReportInputs, name: EvalName) -> Model:
    notes = {"base": "champion" if "champion" not in inputs.evaluations else "", "champion": "serving before"}
    served = inputs.evaluations[name] is inputs.candidate
    return Model(name, "candidate" if served else notes.get(name, ""), served)


def _row(name: str, scores: list[Score | None]) -> Row:
    one = next(score for score in scores if score)
    return Row(title(name), one.metric, one.asked, scores)


Pair = tuple[EvalName, EvalName]
"""Who is held against whom."""


def _pairs(inputs: ReportInputs, reports: dict[EvalName, EvalReport]) -> list[Pair]:
    """The candidate against champion and base, the quantized weights against the merged, then all others."""
    before: EvalName = "champion" if "champion" in reports else "base"
    made: list[EvalName] = [name for name in ("merged", "gptq", "awq") if name in reports]
    made.sort(key=lambda name: reports[name] is not inputs.candidate)
    found: list[Pair] = [(name, other) for name in made[:1] for other in (before, "base")]
    found += [(name, "merged") for name in made if name != "merged"]
    found += [(name, before) for name in made[1:]]
    return [pair for pair in dict.fromkeys(found) if pair[0] in reports and pair[1] in reports]


def _compare_all(inputs: ReportInputs, pair: Pair, benchmarks: list[str]) -> tuple[list[Paired], list[str]]:
    """The comparisons of two models, and why others cannot be made."""
    ours, theirs = (inputs.evaluations[name] for name in pair)
    found, refused = [], []
    for benchmark in benchmarks:
        if benchmark in ours.scores and benchmark in theirs.scores:
            try:
                found.append(compare(ours, theirs, benchmark, level=inputs.recipe.promote.gates.level))
            except LavaflowError as error:  # other questions, say: the report is there to tell it
                refused.append(str(error))
    return found, refused


def _comparison(inputs: ReportInputs, pair: Pair, found: list[Paired], refused: list[str], scale: Scale) -> Comparison:
    ours, theirs = (inputs.evaluations[name] for name in pair)
    decides = ours is inputs.candidate and theirs is inputs.champion
    margin = _percent(scale, -inputs.recipe.promote.gates.margin)
    differences = [
        Difference(
            title=title(paired.benchmark),
            paired=paired,
            left=_percent(scale, paired.low),
            width=round(_percent(scale, paired.high) - _percent(scale, paired.low), 2),
            dot=_percent(scale, paired.difference),
            margin=margin if decides and paired.benchmark != HOLDOUT else None,
        )
        for paired in found
    ]
    aside = ours is not inputs.candidate and pair[1] != "merged"
    return Comparison(*pair, decides, aside, differences, refused)


def _percent(scale: Scale, value: float) -> float:
    return round(100 * scale.share(value), 2)
