"""What can be asked about a picture, and the right answer: the kinds of questions of the sample and its benchmarks.

    ask("number", composite, rng)      # Asked("Which number is written here?", "47")
    ask("yesno", composite, rng)       # Asked("Is the ink red?", "no")
    caption("generate", composite)     # "Red ink on yellow paper, showing the number 47."

An answer's wording follows from the question alone, so that an exact comparison is fair.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from tasks.sample.draw import INKS, PAPERS, Composite

Rng = np.random.Generator

BRIEF = "\nAnswer the question using a single word or phrase."
"""How LLaVA-1.5 is asked for a short answer, in its training data and in MME and TextVQA."""
BRIEF_SHARE = 0.25
LETTER = "Answer with the option's letter from the given choices directly."
"""How LLaVA-1.5 is asked for an option."""
COUNTS = ("one", "two", "three", "four")
TOPICS = ("ink", "paper", "count")
"""What a multiple choice can be about."""


@dataclass(frozen=True)
class Asked:
    """A question and its answer."""

    question: str
    answer: str


CAPTIONS = {
    "describe": "The number {number} in {ink} ink on {paper} paper.",
    "caption": "A sheet of {paper} paper with a handwritten {number} in {ink} ink.",
    "generate": "{Ink} ink on {paper} paper, showing the number {number}.",
}
"""Ways to put a picture into words; each belongs to an instruction."""
INSTRUCTIONS = {
    "describe": "Describe the picture.",
    "caption": "Write a caption for the picture.",
    "generate": "Generate a product description",
}


def caption(style: str, shown: Composite) -> str:
    """The picture in words, in one of the styles of `CAPTIONS`."""
    return CAPTIONS[style].format(number=shown.number, ink=shown.ink, Ink=shown.ink.capitalize(), paper=shown.paper)


def ask(kind: str, shown: Composite, rng: Rng) -> Asked:
    """A question of a kind (see `KINDS`) about a picture."""
    return KINDS[kind](shown, rng)


def _number(shown: Composite, rng: Rng) -> Asked:
    return _short(rng, shown.number, "Which number is written here?", "What number is written on the paper?")


def _ink(shown: Composite, rng: Rng) -> Asked:
    return _short(rng, shown.ink, "What colour is the ink?", "Which ink was the number written in?")


def _paper(shown: Composite, rng: Rng) -> Asked:
    return _short(rng, shown.paper, "What colour is the paper?", "Which paper is the number written on?")


def _count(shown: Composite, rng: Rng) -> Asked:
    return _short(rng, _counted_in_words(shown), "How many digits are there?", "How many digits does the number have?")


def _counted_in_words(shown: Composite) -> str:
    return COUNTS[len(shown.digits) - 1]


def _digit(shown: Composite, rng: Rng) -> Asked:
    place = int(rng.integers(2)) - 1  # 0 is the first, -1 the last
    side, order = (("left", "first"), ("right", "last"))[place]
    answer = str(shown.digits[place])
    return _short(rng, answer, f"Which digit is on the {side}?", f"What is the {order} digit?")


def _short(rng: Rng, answer: str, *questions: str) -> Asked:
    return Asked(str(rng.choice(questions)) + _maybe_brief(rng), answer)


def _maybe_brief(rng: Rng) -> str:
    return BRIEF if rng.random() < BRIEF_SHARE else ""


def _yes_no(shown: Composite, rng: Rng) -> Asked:
    category = str(rng.choice(list(YES_NO)))
    truth = bool(rng.random() < 0.5)
    question = statement(category, shown, truth, rng)
    return Asked(question + _maybe_brief(rng), "yes" if truth else "no")


def statement(category: str, shown: Composite, truth: bool, rng: Rng) -> str:
    """A question of one of MME's categories that is to be answered with yes (`truth`) or no."""
    return YES_NO[category](shown, truth, rng)


def _existence(shown: Composite, truth: bool, rng: Rng) -> str:
    digit = rng.choice([digit for digit in range(10) if (digit in shown.digits) == truth])
    return f"Is there a {digit} in the picture?"


def _counted(shown: Composite, truth: bool, rng: Rng) -> str:
    if (len(shown.digits) == 2) == truth:
        return "Are there two digits in the picture?"
    return "Is there only one digit in the picture?"


def _position(shown: Composite, truth: bool, rng: Rng) -> str:
    """About a digit that stands on one side only; where there is none, about existence."""
    if len(set(shown.digits)) < 2:
        return _existence(shown, truth, rng)
    place = int(rng.integers(2))
    side = ("left", "right")[place if truth else 1 - place]
    return f"Is the {shown.digits[place]} on the {side}?"


def _color(shown: Composite, truth: bool, rng: Rng) -> str:
    thing, own, names = ("ink", shown.ink, INKS) if rng.random() < 0.5 else ("paper", shown.paper, PAPERS)
    return f"Is the {thing} {own if truth else _other(names, own, rng)}?"


def _read(shown: Composite, truth: bool, rng: Rng) -> str:
    return f"Is the number {shown.number if truth else wrong_number(shown, rng)}?"


def _other(names: Iterable[str], own: str, rng: Rng) -> str:
    return str(rng.choice([name for name in names if name != own]))


def wrong_number(shown: Composite, rng: Rng) -> str:
    """A number that is not the shown one, of as many digits."""
    lowest, highest = ((0, 9), (10, 99))[len(shown.digits) - 1]
    own = int(shown.number)
    other = int(rng.integers(lowest, highest))
    return str(other + (other >= own))


@dataclass(frozen=True)
class Choice:
    """A question with options."""

    question: str
    options: tuple[str, ...]
    answer: str
    """Letter of the right option."""


def choice(topic: str, shown: Composite, rng: Rng) -> Choice:
    """A question about `ink`, `paper` or `count` with four options."""
    question, own, names = {
        "ink": ("What colour is the ink?", shown.ink, INKS),
        "paper": ("What colour is the paper?", shown.paper, PAPERS),
        "count": ("How many digits are there?", _counted_in_words(shown), COUNTS),
    }[topic]
    options = tuple(map(str, rng.permutation(list(names))))
    return Choice(question, options, "ABCD"[options.index(own)])


def _choice(shown: Composite, rng: Rng) -> Asked:
    """Options in the text, as MMMU puts them."""
    item = choice(str(rng.choice(TOPICS)), shown, rng)
    lines = [f"({letter}) {option}" for letter, option in zip("ABCD", item.options, strict=True)]
    return Asked("\n".join([f"<image 1> {item.question}", *lines, "", LETTER]), item.answer)


def contrast(kind: str, shown: Composite, rng: Rng) -> list[Asked]:
    """A question of a kind; for a comparison two, so that picture and wording alone tell nothing about the answer.

    Yes/no questions come as MME has them: the same thing asked with yes and with no. Options come in two orders.
    A small model that sees both at once learns to compare several times sooner.
    """
    if kind == "yesno":
        category = str(rng.choice(list(YES_NO)))
        brief = _maybe_brief(rng)
        return [
            Asked(statement(category, shown, truth, rng) + brief, answer)
            for truth, answer in ((True, "yes"), (False, "no"))
        ]
    return [ask(kind, shown, rng) for _ in range(2 if kind == "choice" else 1)]


def _in_words(style: str) -> "Kind":
    return lambda shown, rng: Asked(INSTRUCTIONS[style], caption(style, shown))


Kind = Callable[[Composite, Rng], Asked]
KINDS: dict[str, Kind] = {
    "number": _number,
    "ink": _ink,
    "paper": _paper,
    "count": _count,
    "digit": _digit,
    "yesno": _yes_no,
    "choice": _choice,
    "describe": _in_words("describe"),
    "caption": _in_words("caption"),
    "generate": _in_words("generate"),
}
YES_NO: dict[str, Callable[[Composite, bool, Rng], str]] = {
    "existence": _existence,
    "count": _counted,
    "position": _position,
    "color": _color,
    "OCR": _read,
}
"""By the MME category that asks so."""
