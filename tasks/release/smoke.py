"""Asks a running server, as a client would, and compares with what the offline evaluation answered.

    result = ask_holdout(server, version.bundle.report("gptq"), Dataset(data.folder), count=100, max_tokens=32)
    result.asked, result.answered, result.same
    ask(server, "Which number is shown?", image=Path("two-digits.png").read_bytes())

The client is the official `openai` package, over HTTP, with the key: the whole way that a user's request goes.
"""

import base64
import io
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image
from pydantic import BaseModel, ConfigDict
from tqdm import tqdm

from tasks.dataset import IMAGE, Dataset, Message
from tasks.errors import LavaflowError
from tasks.evaluate.answers import read_answers
from tasks.refs import EvalReport
from tasks.release.bundle import HOLDOUT
from tasks.release.serve import Server

if TYPE_CHECKING:
    from openai import OpenAI

log = logging.getLogger(__name__)

EXAMPLES = 5
"""Differing answers that a result shows."""
SHOWN = 500
"""Characters of each: a result is kept as a tag, which the registry bounds."""
FAILURES = 3
"""Errors in a row after which a server is given up."""


class Difference(BaseModel):
    """A question that the server answered otherwise than the offline evaluation."""

    model_config = ConfigDict(frozen=True)

    id: str
    question: str
    offline: str
    served: str | None
    """None if there was an error."""
    error: str | None = None


class SmokeResult(BaseModel):
    """What came of a smoke test."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    engine: str
    asked: int
    answered: int
    same: int
    """Answers equal to the offline ones, white space at the ends aside."""
    differing: list[Difference]
    """The first few others."""


def ask_holdout(server: Server, report: EvalReport, data: Dataset, *, count: int, max_tokens: int) -> SmokeResult:
    """Ask hold-out questions and compare with their offline answers.

    Args:
        server: what to ask.
        report: of the weights that it serves.
        data: holds the questions' conversations and pictures.
        count: how many to ask, spread evenly over the hold-out.
        max_tokens: most tokens an answer, as in the evaluation.

    Raises:
        LavaflowError: the server fails on one question after the other.
    """
    answers = [answer for answer in read_answers(report.folder / f"{HOLDOUT}.jsonl") if answer.prediction is not None]
    rows = {row.id: row for row in data.rows("holdout")}
    chosen = [answers[place * len(answers) // count] for place in range(count)] if len(answers) > count else answers
    if lost := [answer.id for answer in chosen if answer.id not in rows]:
        raise LavaflowError(
            f"{report.path}: question {lost[0]} is not in the hold-out of {data.folder}; evaluate again"
        )
    answered = same = 0
    differing: list[Difference] = []
    errors_in_a_row = 0
    with _client(server) as client:
        for answer in tqdm(chosen, desc="smoke test", unit="question"):
            offline = str(answer.prediction).strip()
            pictures = [data.image_bytes(sha) for sha in rows[answer.id].images]
            served: str | None = None
            reason = None
            try:
                served = _ask(client, server.model, rows[answer.id].messages[:-1], pictures, max_tokens)
            except _openai_errors() as error:
                errors_in_a_row += 1
                if errors_in_a_row == FAILURES:
                    raise LavaflowError(
                        f"{server.base_url}: {_one_line(error)}; the engine's log is {server.engine.log}"
                    ) from error
                reason = _one_line(error)
            else:
                errors_in_a_row = 0
                answered += 1
                same += served == offline
            if served != offline:
                words = {"question": answer.question, "offline": offline, "served": served, "error": reason}
                differing.append(Difference(id=answer.id, **{k: v and v[:SHOWN] for k, v in words.items()}))
    result = SmokeResult(
        engine=server.engine.spec.name, asked=len(chosen), answered=answered, same=same, differing=differing[:EXAMPLES]
    )
    log.info("smoke test: %d asked, %d answered, %d as offline", result.asked, result.answered, result.same)
    return result


def ask(server: Server, question: str, image: bytes | None = None, *, max_tokens: int | None = None) -> str:
    """One answer.

    Args:
        server: what to ask.
        question: in words.
        image: a picture file, if the question is about one.
        max_tokens: default the server's bound.

    Raises:
        LavaflowError: the server refuses or fails, with its words.
    """
    messages = [Message(role="user", content=f"{IMAGE}\n{question}" if image else question)]
    with _client(server) as client:
        try:
            return _ask(client, server.model, messages, [image] if image else [], max_tokens)
        except _openai_errors() as error:
            raise LavaflowError(
                f"{server.base_url}: {_one_line(error)}; the engine's log is {server.engine.log}"
            ) from error


def chat(messages: Sequence[Message], images: Sequence[bytes]) -> list[dict[str, Any]]:
    """A conversation in OpenAI's form: pictures as data URIs where `<image>` stood."""
    from tasks.prompts import parts  # it imports transformers

    pictures = iter(images)
    conversation = []
    for message in messages:
        content = [
            {"type": "image_url", "image_url": {"url": data_uri(next(pictures))}} if part["type"] == "image" else part
            for part in parts(message.content)
        ]
        conversation.append({"role": message.role, "content": content})
    return conversation


def data_uri(image: bytes) -> str:
    """A picture file as a data URI."""
    kind = Image.open(io.BytesIO(image)).get_format_mimetype() or "image/png"
    return f"data:{kind};base64,{base64.b64encode(image).decode()}"


def _ask(
    client: "OpenAI", model: str, messages: Sequence[Message], images: Sequence[bytes], max_tokens: int | None
) -> str:
    limit = {} if max_tokens is None else {"max_tokens": max_tokens}
    reply = client.chat.completions.create(model=model, messages=chat(messages, images), temperature=0, **limit)  # type: ignore[call-overload]
    return str(reply.choices[0].message.content or "").strip()


def _client(server: Server) -> "OpenAI":
    from openai import DefaultHttpxClient, OpenAI

    # a proxy that the environment names has no business between this machine and itself
    http = DefaultHttpxClient(trust_env=False)
    return OpenAI(base_url=server.base_url, api_key=server.key, http_client=http, max_retries=1, timeout=300)


def _openai_errors() -> type[Exception]:
    from openai import OpenAIError

    return OpenAIError


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
