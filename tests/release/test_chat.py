"""What a chat request may hold, without a server."""

import base64
import io
import json
import struct
import zlib
from typing import Any

import pytest
from PIL import Image

from tasks.prepare.images import decode
from tasks.release.chat import MAX_CHARACTERS, MAX_IMAGES, Refused, read_request


def picture(kind: str = "PNG", size: tuple[int, int] = (60, 50)) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 50).convert("RGB").save(file, kind)
    return file.getvalue()


def uri(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def part(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def request(content: Any = "hello", **fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": content}], **fields}).encode()


def read(raw: bytes, max_pixels: int = 10_000) -> dict[str, Any]:
    return read_request(raw, model="m", max_tokens=16, max_pixels=max_pixels)


def refused(raw: bytes, **bounds: int) -> Refused:
    with pytest.raises(Refused) as caught:
        read(raw, **bounds)
    assert "\n" not in caught.value.message
    return caught.value


def test_what_is_not_said_is_greedy_and_bounded() -> None:
    assert read(request()) == {
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 16,
        "temperature": 0.0,
    }


def test_what_is_said_is_passed_on() -> None:
    asked = read(request(max_completion_tokens=3, temperature=0.5, top_p=0.9, seed=1, stream=True, user="u", n=1))
    assert {name: value for name, value in asked.items() if name != "messages"} == {
        "max_tokens": 3,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 1,
        "stream": True,
    }


def test_a_picture_reaches_the_engine_as_prepare_would_store_it() -> None:
    see_through = Image.new("RGBA", (60, 50), (0, 0, 0, 0))  # an engine that drops the alpha sees black
    file = io.BytesIO()
    see_through.save(file, "PNG")
    for sent in (file.getvalue(), picture("GIF")):
        (answer,) = read(request([part(uri(sent))]))["messages"][0]["content"]
        seen = base64.b64decode(answer["image_url"]["url"].partition(",")[2])
        assert seen == decode(sent, "", 10**6).data
    assert Image.open(io.BytesIO(decode(file.getvalue(), "", 10**6).data)).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_pictures_come_as_data_uris(kind: str) -> None:
    content = [part(uri(picture(kind), kind.lower())), {"type": "text", "text": "what?"}]
    assert read(request(content))["messages"][0]["content"] == content


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"logprobs": True}, "logprobs"),
        ({"stop": ["x"]}, "stop"),
        ({"generation_config": "{}"}, "generation_config"),
        ({"n": 2}, "n"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 17}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "url": "/etc/passwd"}]}]}, "messages.0.content"),
    ],
)
def test_what_would_be_ignored_or_break_the_engine_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    error = refused(request(**fields))
    assert error.status == 400
    assert (error.param or "").startswith(param)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_a_body_that_is_no_request_is_refused(raw: bytes) -> None:
    assert refused(raw).status == 400


def test_another_model_is_not_found() -> None:
    error = refused(request(model="other"))
    assert (error.status, error.code) == (404, "model_not_found")


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://example.org/a.png",
        "file:///etc/passwd",
        "/etc/passwd",
        "ftp://example.org/a.png",
        "data:text/html;base64,aGk=",
        "data:image/png,notbase64",
        "aGVsbG8=",
        "",
    ],
)
def test_no_address_is_fetched_and_no_file_opened(url: str) -> None:
    error = refused(request([part(url)]))
    assert (error.status, error.param) == (400, "messages")
    assert "not fetched" in error.message


def test_damaged_pictures_are_refused() -> None:
    whole = picture("JPEG", (90, 90))
    assert "not base64" in refused(request([part("data:image/png;base64,@@@@")])).message
    assert "truncated" in refused(request([part(uri(whole[: len(whole) // 2]))])).message
    assert "no picture format" in refused(request([part(uri(b"%PDF-1.4 no picture"))])).message


def test_a_picture_that_would_fill_the_memory_is_refused_before_it_is_decoded() -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    error = refused(request([part(uri(bomb))]))
    assert "60000x60000" in error.message or "decompression bomb" in error.message
    assert (
        "51x50, the limit is 2,500 pixels"
        in refused(request([part(uri(picture(size=(51, 50))))]), max_pixels=2500).message
    )
    read(request([part(uri(picture(size=(50, 50))))]), max_pixels=2500)


def test_text_and_pictures_are_bounded_in_number() -> None:
    assert "longer than" in refused(request("x" * (MAX_CHARACTERS + 1))).message
    small = part(uri(picture(size=(8, 8))))
    read(request([small] * MAX_IMAGES))
    assert "at most 16" in refused(request([small] * (MAX_IMAGES + 1))).message


def test_a_marker_in_the_text_is_no_picture() -> None:
    assert "image_url part" in refused(request("<image> what?")).message
    assert "image_url part" in refused(request([{"type": "text", "text": "a <image>"}])).message
