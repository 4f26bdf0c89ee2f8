r"""Raw JSON lines -> records: one typed form for every row form that lavaflow reads.

    {"image": "a.png", "text": "Question: What is it?\nAnswer: A lamp."}
    {"image": "a.png", "text": "Generate a product description: A modern wooden coffee table ..."}
    {"image": "a.png", "conversations": [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", ...}]}

The second form is an instruction, a colon and the result; the third is LLaVA's (haotian-liu/LLaVA, docs/
Finetune_Custom_Data.md). Optional keys: `split` (train, validation, holdout) and `group` (rows that must stay in one
split), which are obeyed, and `kind`, by which scores are told apart. A line that cannot be read raises `Rejected`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.dataset import IMAGE, SPLITS, Message

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
TURN = re.compile(r"Question:(.*?)\nAnswer:(.*?)(?=\nQuestion:|\Z)", re.DOTALL | re.IGNORECASE)
INSTRUCTION = re.compile(r"(.+?):(?:\s+(.*)|)\Z", re.DOTALL)


class Rejected(Exception):  # noqa: N818 -- a verdict on one row, not a failure of the program
    """A row or picture that cannot be used: the name of the rule, and what it saw."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Line:
    """One line of a source, as it was."""

    source: str
    number: int
    """From 1."""
    text: str


@dataclass(frozen=True)
class Record:
    """One row that has been read; nothing has been judged yet."""

    line: Line
    image: str
    """Path as the row gives it."""
    messages: tuple[Message, ...]
    split: str | None
    group: str | None
    kind: str

    @property
    def answer(self) -> str:
        """The longest reply: what an alignment filter judges (a generate row's result, a question's answer)."""
        return max((m.content for m in self.messages if m.role == "assistant"), key=len, default="")


def read_lines(path: Path, source: str) -> Iterator[Line]:
    """The lines of a JSONL file that are not blank; bytes that are no UTF-8 are kept as `\\xNN`.

    Args:
        path: the file.
        source: its name as the recipe spells it.
    """
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if text := raw.decode("utf-8-sig" if number == 1 else "utf-8", errors="backslashreplace").strip():
                yield Line(source, number, text)


def parse(line: Line) -> Record:
    """The record that a line holds.

    Raises:
        Rejected: `bad_json` (no JSON object), `bad_row` (an object of no known form), `no_image` (a row of text only).
    """
    try:
        row = json.loads(line.text)
    except (ValueError, RecursionError) as error:
        raise Rejected("bad_json", f"not JSON: {str(error)[:200]}") from None
    if not isinstance(row, dict):
        raise Rejected("bad_json", f"a row is a JSON object, this is a {type(row).__name__}")
    image = _string(row, "image")
    if not image:
        raise Rejected("no_image", "the row names no image")
    split = _string(row, "split")
    if split is not None and split not in SPLITS:
        raise Rejected("bad_row", f"`split` is {split!r}; known are {', '.join(SPLITS)}")
    return Record(
        line=line,
        image=image,
        messages=tuple(_with_image_first(_messages(row))),
        split=split,
        group=_name(row, "group"),
        kind=_name(row, "kind") or "other",
    )


def _messages(row: dict[str, Any]) -> list[Message]:
    if "conversations" in row:
        return _from_turns(row["conversations"])
    text = _string(row, "text")
    if text is None:
        raise Rejected("bad_row", "neither `text` nor `conversations` in the row")
    return _from_text(text)


def _from_text(text: str) -> list[Message]:
    """Both `text` forms; several `Question:`/`Answer:` pairs make a conversation of several turns."""
    if text.lstrip()[:9].lower() == "question:":
        pairs = TURN.findall(text)
        if not pairs:
            raise Rejected("answer_missing", "a `Question:` without a line `Answer:`")
    elif match := INSTRUCTION.match(text.strip()):
        pairs = [match.groups(default="")]
    else:
        reason = "bad_row" if text.strip() else "empty_text"
        raise Rejected(reason, "text is neither `Question: ...\\nAnswer: ...` nor an instruction, a colon and a result")
    return [
        Message(role=role, content=content.strip())
        for pair in pairs
        for role, content in zip(("user", "assistant"), pair, strict=True)
    ]


def _from_turns(turns: Any) -> list[Message]:
    if not isinstance(turns, list) or not turns:
        raise Rejected("bad_row", "`conversations` is not a list of turns")
    messages = []
    for turn in turns:
        if not isinstance(turn, dict) or not isinstance(turn.get("value"), str):
            raise Rejected("bad_row", "a turn of `conversations` is not {`from`, `value`}")
        speaker = turn.get("from")
        if not isinstance(speaker, str) or speaker not in ROLES:
            raise Rejected("bad_row", f"a turn is from {speaker!r}; known are {', '.join(ROLES)}")
        messages.append(Message(role=ROLES[speaker], content=_encodable(turn["value"]).strip()))
    return messages


def _with_image_first(messages: list[Message]) -> list[Message]:
    """`<image>` at the head of the first user message, where LLaVA was trained to see it.

    Placeholders elsewhere, or more than one, are left as they are for `clean` to judge.
    """
    first = next((place for place, message in enumerate(messages) if message.role == "user"), None)
    count = sum(message.content.count(IMAGE) for message in messages)
    if first is None or count > 1 or (count == 1 and IMAGE not in messages[first].content):
        return messages
    question = messages[first].content.replace(IMAGE, "").strip()
    messages[first] = Message(role="user", content=f"{IMAGE}\n{question}")
    return messages


def _string(row: dict[str, Any], key: str) -> str | None:
    value = row.get(key)
    if value is not None and not isinstance(value, str):
        raise Rejected("bad_row", f"`{key}` is a {type(value).__name__}, not a string")
    return None if value is None else _encodable(value)


def _name(row: dict[str, Any], key: str) -> str | None:
    """A string, or a whole number as one."""
    value = row.get(key)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _string(row, key)


def _encodable(text: str) -> str:
    """JSON can spell half a character (`\\ud800`), which no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Rejected("bad_row", "the text holds half a character (a lone UTF-16 surrogate)") from None
    return text
