"""A chat request as the front reads it: known fields, one model, pictures that come with the request.

    body = read_request(raw, model="digits-llava", max_tokens=64, max_pixels=1_000_000)   # ready for the engine

Everything else is refused with 400 and the field's name: a field that a server ignores in silence is a bug of its
client's that nobody finds. Temperature defaults to 0, so an answer is the one that was evaluated.
"""

import base64
import binascii
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from tasks.dataset import IMAGE
from tasks.prepare.images import decode
from tasks.prepare.records import Rejected

MAX_IMAGES = 16
MAX_CHARACTERS = 100_000
"""Of all text in a request; far more than a LLaVA's context holds."""
_DATA_URI = re.compile(r"data:image/[a-z0-9.+-]+;base64,", re.IGNORECASE)


class Refused(Exception):  # noqa: N818 (an answer, not a failure)
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code


class _Known(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Text(_Known):
    type: Literal["text"]
    text: str


class _ImageUrl(_Known):
    url: str
    detail: str | None = None


class _Picture(_Known):
    type: Literal["image_url"]
    image_url: _ImageUrl


class _Message(_Known):
    role: Literal["system", "user", "assistant"]
    content: str | list[Annotated[_Text | _Picture, Field(discriminator="type")]]
    name: str | None = None

    @property
    def texts(self) -> list[str]:
        return [self.content] if isinstance(self.content, str) else [p.text for p in self.content if p.type == "text"]

    @property
    def pictures(self) -> list[str]:
        return [p.image_url.url for p in self.content if not isinstance(p, str) and p.type == "image_url"]


class _StreamOptions(_Known):
    include_usage: bool = False


class _Chat(_Known):
    model: str
    messages: Annotated[list[_Message], Field(min_length=1)]
    max_tokens: PositiveInt | None = None
    max_completion_tokens: PositiveInt | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    # accepted where they change nothing
    user: str | None = None
    n: Annotated[int, Field(ge=1, le=1)] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None


def read_request(raw: bytes, model: str, max_tokens: int, max_pixels: int) -> dict[str, Any]:
    """Check a request and put it in the plainest form, without a model name.

    Args:
        raw: the request's body.
        model: the name it must ask for.
        max_tokens: the most it may ask for; what it gets if it does not say.
        max_pixels: of a picture.

    Raises:
        Refused: 400, or 404 for another model.
    """
    try:
        chat = _Chat.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"])
        raise Refused(400, f"{param or 'the body'}: {first['msg']}", param=param or None) from None
    if chat.model != model:
        raise Refused(
            404, f"there is no model `{chat.model}` here; it is `{model}`", param="model", code="model_not_found"
        )
    wanted = chat.max_completion_tokens or chat.max_tokens or max_tokens
    if wanted > max_tokens:
        raise Refused(400, f"max_tokens is {wanted}; this server answers with at most {max_tokens}", param="max_tokens")
    _check_content(chat.messages, max_pixels)
    asked: dict[str, Any] = {
        "messages": [message.model_dump(exclude_none=True, exclude={"name"}) for message in chat.messages],
        "max_tokens": wanted,
        "temperature": chat.temperature or 0.0,
    }
    for name in ("top_p", "seed", "stream"):
        if (value := getattr(chat, name)) is not None:
            asked[name] = value
    if chat.stream and chat.stream_options:
        asked["stream_options"] = chat.stream_options.model_dump()
    return asked


def _check_content(messages: list[_Message], max_pixels: int) -> None:
    texts = [text for message in messages for text in message.texts]
    if sum(map(len, texts)) > MAX_CHARACTERS:
        raise Refused(400, f"the text is longer than {MAX_CHARACTERS:,} characters", param="messages")
    if any(IMAGE in text for text in texts):
        raise Refused(400, f"the text contains {IMAGE}; send the picture as an image_url part", param="messages")
    pictures = [url for message in messages for url in message.pictures]
    if len(pictures) > MAX_IMAGES:
        raise Refused(400, f"{len(pictures)} pictures; at most {MAX_IMAGES} a request", param="messages")
    for message in messages:
        for part in message.content:
            if not isinstance(part, str) and part.type == "image_url":
                part.image_url.url = _as_trained(part.image_url.url, max_pixels)


def _as_trained(url: str, max_pixels: int) -> str:
    """The picture as `prepare` stores it: upright, transparency on white; an engine would see what is below it.

    Only a picture that came with the request: an address would let clients make this machine fetch it (SSRF).
    """
    start = _DATA_URI.match(url)
    if not start:
        shown = url[:40] + ("..." if len(url) > 40 else "")
        raise Refused(
            400,
            f"{shown}: pictures are not fetched; send data:image/png;base64,...",
            param="messages",
            code="image_url",
        )
    try:
        data = base64.b64decode(url[start.end() :], validate=True)
    except binascii.Error as error:
        raise Refused(400, f"a picture is not base64: {error}", param="messages", code="image_url") from None
    try:
        stored = decode(data, "a picture", max_pixels).data
    except Rejected as verdict:
        raise Refused(400, verdict.detail, param="messages", code="image_url") from None
    return url if stored == data else f"data:image/png;base64,{base64.b64encode(stored).decode()}"
