"""The hold-out: rows of the team's own data that `prepare` set aside before any training; promotion is decided on it.

    image     (two handwritten digits)
    asked     <image>\\nWhich number is written here?          expected  42
    right     "42", " 42.", "42 "                             wrong     "24", "4 2", "It is 42"

The conversation up to the last turn is asked; the row's last turn is the expected answer. An answer is right if it is
the same but for case, white space and the punctuation around words. Beside the headline stand the score of each kind
of question, the overlap of words (token F1, as SQuAD has it: Rajpurkar et al., 2016, arXiv:1606.05250) and what the
most frequent answer of each kind would have scored: a model that is no better has not looked at the picture.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial

from tasks import recipe
from tasks.dataset import Dataset
from tasks.errors import LavaflowError
from tasks.evaluate.answers import Answer, Benchmark, Picture, Question, Verdict, by_category, points

MAJORITY = "majority answer"
TOKEN_F1 = "token F1"  # noqa: S105 (a word of an answer, not a secret)

# Signs, units and decimal points stay: -5 is not 5 and .5 is not 5.
_BEFORE = "\"'`([{«\u201c\u2018"
_BEHIND = "\"'`)]}»\u201d\u2019.,;:!?\u2026"


def read(section: recipe.Holdout, data: Dataset) -> list[Question]:
    """The hold-out rows as questions.

    Raises:
        LavaflowError: there are none, or one does not end with an answer.
    """
    rows = data.rows("holdout")
    if not rows:
        raise LavaflowError(
            f"{data.folder}: the hold-out is empty; raise prepare.split.holdout or mark rows with a split"
        )
    if unanswered := [row for row in rows if row.messages[-1].role != "assistant"]:
        row = unanswered[0]
        raise LavaflowError(f"{row.source}:{row.line}: a hold-out row must end with the assistant's answer")
    return [
        Question(
            id=row.id,
            messages=tuple(row.messages[:-1]),
            images=tuple(Picture(sha, partial(data.image_bytes, sha), known=sha) for sha in row.images),
            expected=(row.messages[-1].content,),
            category=row.kind,
            group=row.group,
        )
        for row in rows
    ]


def normalize(text: str) -> str:
    """Lower case, single spaces, no punctuation around words."""
    words = (word.lstrip(_BEFORE).rstrip(_BEHIND) for word in text.casefold().split())
    return " ".join(word for word in words if word)


def judge(question: Question, prediction: str) -> Verdict:
    """Right if equal to the expected answer after normalization; only an empty answer cannot be read."""
    right = normalize(prediction) == normalize(question.expected[0])
    return Verdict(float(right), parsed=bool(prediction.strip()))


def token_f1(prediction: str, expected: str) -> float:
    """Harmonic mean of the precision and recall of words, 0 to 1."""
    said, wanted = normalize(prediction).split(), normalize(expected).split()
    common = (Counter(said) & Counter(wanted)).total()
    return 2 * common / (len(said) + len(wanted)) if common else 0.0


def figures(answers: Sequence[Answer]) -> tuple[float, dict[str, float]]:
    """Exact match; each kind apart, token F1, and the majority answer's score."""
    kinds = by_category(answers)
    overlap = sum(token_f1(answer.prediction or "", answer.expected[0]) for answer in answers)
    commonest = sum(
        Counter(normalize(answer.expected[0]) for answer in members).most_common(1)[0][1] for members in kinds.values()
    )
    return points(answers), {
        **{kind: points(members) for kind, members in kinds.items()},
        TOKEN_F1: 100 * overlap / len(answers),
        MAJORITY: 100 * commonest / len(answers),
    }


HOLDOUT = Benchmark("holdout", "exact match", read, judge, figures)
