"""The report: one self-contained HTML file a run. No script, no address that a browser would ask for, light and dark.

    build_report(inputs, Path("report.html"))

Each section is read by a file of its own here and laid out by the template of the same name; the same inputs give the
same bytes. Texts of rows, answers and paths are other people's words: every template escapes what it prints, and the
page forbids itself scripts and requests.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.dataset import Dataset
from tasks.evaluate.compare import Paired
from tasks.evaluate.holdout import MAJORITY
from tasks.refs import Score
from tasks.release.bundle import HOLDOUT
from tasks.report.costs import Size, finished, make_lineage, make_sizes, make_times
from tasks.report.inputs import ReportInputs
from tasks.report.intake import make_intake
from tasks.report.questions import make_questions
from tasks.report.scores import Benchmarks, make_benchmarks
from tasks.report.thumbs import Thumbs
from tasks.report.training import make_training
from tasks.report.words import FILTERS
from tasks.store import write_whole


@dataclass(frozen=True)
class Summary:
    """The figures of the first screen."""

    holdout: Score | None
    champion: Score | None
    majority: float | None
    """Points of a model that always gives the most frequent answer."""
    gain: Paired | None
    size: Size | None
    by_chance: float
    """Chance that one of as many equal models as were judged on this hold-out passes its test."""


def build_report(inputs: ReportInputs, path: Path) -> None:
    """Write the report.

    Args:
        inputs: the run, by reference; its folders are read.
        path: the HTML file; its folder is made if it is not there.

    Raises:
        LavaflowError: an answers file that a report of `inputs` names is missing or broken.
    """
    data = Dataset(inputs.data.folder)
    thumbs = Thumbs(data)
    # first the questions, then the dropped rows: if the room for pictures ends, it ends with those
    questions = make_questions(inputs, thumbs)
    benchmarks = make_benchmarks(inputs)
    sizes = make_sizes(inputs)
    page = (
        _environment()
        .get_template("report.html.jinja")
        .render(
            inputs=inputs,
            recipe=inputs.recipe,
            summary=_summary(inputs, benchmarks, sizes),
            benchmarks=benchmarks,
            questions=questions,
            training=make_training(inputs.trained.folder, inputs.recipe.train.stages) if inputs.trained else None,
            intake=make_intake(inputs.data, data, thumbs),
            sizes=sizes,
            times=make_times(inputs),
            lineage=make_lineage(inputs),
            finished=finished(inputs),
        )
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page)


def _summary(inputs: ReportInputs, benchmarks: Benchmarks | None, sizes: list[Size]) -> Summary:
    score = inputs.candidate.scores.get(HOLDOUT) if inputs.candidate else None
    deciding = [one for one in benchmarks.comparisons if one.decides] if benchmarks else []
    gains = [one.paired for comparison in deciding for one in comparison.differences]
    return Summary(
        holdout=score,
        champion=inputs.champion.scores.get(HOLDOUT) if inputs.champion else None,
        majority=score.details.get(MAJORITY) if score else None,
        gain=next((paired for paired in gains if paired.benchmark == HOLDOUT), None),
        size=next((size for size in sizes if size.served), None),
        by_chance=1 - (1 - inputs.recipe.promote.gates.level) ** inputs.holdout_uses,
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= FILTERS
    return environment
