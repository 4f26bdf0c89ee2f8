"""Rules on a row's text. A rule sees the messages and says what is wrong, or nothing.

    for rule in RULES: detail = rule.check(record.messages)

The rules look for rows that cannot teach anything, not for short ones: `yes` and `B` are good answers to a visual
question. Rules that need a tokenizer (too long for `train.max_length`) are training's to apply.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tasks.dataset import IMAGE, Message
from tasks.prepare.records import Record, Rejected

Check = Callable[[Sequence[Message]], str | None]


@dataclass(frozen=True)
class Rule:
    """A named test of a row's text; the name is the reason under which rows are counted."""

    name: str
    check: Check


def check_text(record: Record) -> None:
    """Pass a record whose text is fit for training.

    Raises:
        Rejected: the first rule that the text breaks.
    """
    for rule in RULES:
        if detail := rule.check(record.messages):
            raise Rejected(rule.name, detail)


def _turns(messages: Sequence[Message]) -> str | None:
    roles = [message.role for message in messages]
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    if not spoken or spoken != ["user", "assistant"] * (len(spoken) // 2):
        return f"turns should go user, assistant, user, assistant; they go {', '.join(roles[:6])}"
    return None


def _text(messages: Sequence[Message]) -> str | None:
    if any(message.content.replace(IMAGE, "").strip() for message in messages):
        return None
    return "no message has any text"


def _question(messages: Sequence[Message]) -> str | None:
    empty = any(m.role == "user" and not m.content.replace(IMAGE, "").strip() for m in messages)
    return "a question is empty" if empty else None


def _answer(messages: Sequence[Message]) -> str | None:
    return "an answer is empty" if any(m.role == "assistant" and not m.content.strip() for m in messages) else None


def _placeholder(messages: Sequence[Message]) -> str | None:
    count = sum(message.content.count(IMAGE) for message in messages)
    asked = sum(message.content.count(IMAGE) for message in messages if message.role == "user")
    if count != 1:
        return f"{count} {IMAGE} in the text, one image in the row"
    return None if asked == 1 else f"{IMAGE} stands outside the user's messages"


RULES = (
    Rule("empty_text", _text),
    Rule("bad_turns", _turns),
    Rule("question_missing", _question),
    Rule("answer_missing", _answer),
    Rule("placeholder_mismatch", _placeholder),
)
"""In the order they are applied."""
