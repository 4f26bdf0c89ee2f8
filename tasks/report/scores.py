"""The report's section `Benchmarks`: scores of all models, and their differences with 95% intervals.

Differences are `tasks.evaluate.compare`'s: the same questions, pair by pair.
"""

from dataclasses import dataclass
from itertools import chain

from tasks.errors import LavaflowError
from tasks.evaluate.compare import Paired, compare
from tasks.refs import EvalReport, Score
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
    """One comparison, and where its interval lies on the benchmark's common axis, in percent."""

    paired: Paired
    ours: str
    theirs: str
    decides: bool
    """Whether the gates look at this one."""
    left: float
    width: float
    dot: float

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `even`: where the interval lies."""
        return "better" if self.paired.low > 0 else "worse" if self.paired.high < 0 else "even"


@dataclass(frozen=True)
class Compared:
    """All comparisons of one benchmark."""

    title: str
    differences: list[Difference]
    zero: float
    """Where no difference lies on the axis, in percent."""
    margin: float | None
    """Where the largest loss that is allowed lies; None for the hold-out, which must be better."""
    refused: list[str]
    """Comparisons that cannot be made, with the reason."""


@dataclass(frozen=True)
class Benchmarks:
    """All of the section."""

    models: list[Model]
    rows: list[Row]
    compared: list[Compared]
    low: float
    high: float
    """Ends of the axis, in points; the same for all benchmarks."""


def title(name: str) -> str:
    """A benchmark's name as people write it."""
    return TITLES.get(name, name)


def make_benchmarks(inputs: ReportInputs) -> Benchmarks | None:
    """Tables of every benchmark that any model answered; None if there is none."""
    reports = {name: inputs.evaluations[name] for name in ORDER if name in inputs.evaluations}
    named = sorted({name for report in reports.values() for name in report.scores}, key=_hold_out_first)
    if not named:
        return None
    made = {name: _compare_all(inputs, reports, name) for name in named}
    intervals = [paired for found, _ in made.values() for *_, paired in found]
    margin = inputs.recipe.promote.gates.margin
    low = min(chain([-margin, -1.0], (paired.low for paired in intervals))) * 1.05
    high = max(chain([1.0], (paired.high for paired in intervals))) * 1.05
    scale = Scale(low, high)
    return Benchmarks(
        models=[_model(inputs, name) for name in reports],
        rows=[_row(name, [report.scores.get(name) for report in reports.values()]) for name in named],
        compared=[_compared(inputs, name, *made[name], scale) for name in named if any(made[name])],
        low=low,
        high=high,
    )


def _hold_out_first(name: str) -> tuple[bool, int, str]:
    known = list(TITLES)
    return name != "holdout", known.index(name) if name in known else len(known), name


def _model(inputs: ReportInputs, name: EvalName) -> Model:
    notes = {"base": "champion" if "champion" not in inputs.evaluations else "", "champion": "serving before"}
    served = inputs.evaluations[name] is inputs.candidate
    return Model(name, "candidate" if served else notes.get(name, ""), served)


def _row(name: str, scores: list[Score | None]) -> Row:
    one = next(score for score in scores if score)
    return Row(title(name), one.metric, one.asked, scores)


def _pairs(inputs: ReportInputs, reports: dict[EvalName, EvalReport]) -> list[tuple[EvalName, EvalName]]:
    """Which is held against which: every made form against the champion, the quantized ones against the merged."""
    before: EvalName = "champion" if "champion" in reports else "base"
    made: list[EvalName] = [name for name in ("merged", "gptq", "awq") if name in reports]
    served = next((name for name in made if reports[name] is inputs.candidate), None)
    made.sort(key=lambda name: name != served)
    found = [(name, before) for name in made if before in reports]
    if served and before == "champion" and "base" in reports:
        found.append((served, "base"))
    return found + [(name, "merged") for name in made if name != "merged" and "merged" in reports]


def _compare_all(
    inputs: ReportInputs, reports: dict[EvalName, EvalReport], benchmark: str
) -> tuple[list[tuple[EvalName, EvalName, Paired]], list[str]]:
    found, refused = [], []
    for ours, theirs in _pairs(inputs, reports):
        if benchmark in reports[ours].scores and benchmark in reports[theirs].scores:
            try:
                level = inputs.recipe.promote.gates.level
                found.append((ours, theirs, compare(reports[ours], reports[theirs], benchmark, level=level)))
            except LavaflowError as error:  # other questions, say: the report is there to tell it
                refused.append(f"{ours} and {theirs}: {error}")
    return found, refused


def _compared(
    inputs: ReportInputs,
    benchmark: str,
    found: list[tuple[EvalName, EvalName, Paired]],
    refused: list[str],
    scale: Scale,
) -> Compared:
    def place(value: float) -> float:
        return round(100 * scale.share(value), 2)

    margin = place(-inputs.recipe.promote.gates.margin) if benchmark != "holdout" else None
    differences = [
        Difference(
            paired=paired,
            ours=ours,
            theirs=theirs,
            decides=inputs.evaluations[ours] is inputs.candidate and inputs.evaluations[theirs] is inputs.champion,
            left=place(paired.low),
            width=round(place(paired.high) - place(paired.low), 2),
            dot=place(paired.difference),
        )
        for ours, theirs, paired in found
    ]
    return Compared(title(benchmark), differences, place(0), margin, refused)
