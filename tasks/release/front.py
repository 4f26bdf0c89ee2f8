"""The server's front: a small OpenAI-compatible ASGI app that guards the engine behind it.

    app = make_app(engine, Guard(model="digits-llava", key=key, max_body=20_000_000, max_tokens=64, max_pixels=10**6))

    POST /v1/chat/completions   key; one model name; streaming; pictures as data URIs only
    GET  /v1/models[/NAME]      key
    GET  /health                no key

What it lets pass is spelled out in `tasks/release/chat.py`. Every error has OpenAI's form:
{"error": {"message", "type", "param", "code"}}. Nothing of a request is logged but its length in time and its status.
"""

import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tasks.release.chat import Refused, read_request
from tasks.release.engine import Engine

log = logging.getLogger(__name__)

ANSWER_SECONDS = 600.0
"""The longest that an answer may take."""


@dataclass(frozen=True)
class Guard:
    """What the front insists on."""

    model: str
    """The one name that clients know the model by."""
    key: str = field(repr=False)
    max_body: int
    """Bytes of a request."""
    max_tokens: int
    """Most tokens an answer; also what a request gets that does not say."""
    max_pixels: int
    """Of a picture."""


def make_app(engine: Engine, guard: Guard, *, log_requests: bool = False) -> Starlette:
    """The ASGI app; with `log_requests` one line a request, `/health` aside."""
    started = int(time.time())

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=5)
        async with httpx.AsyncClient(base_url=engine.url, timeout=timeout, trust_env=False) as client:
            app.state.client = client
            yield

    async def health(_: Request) -> Response:
        alive = engine.is_alive()
        return JSONResponse({"status": "ok" if alive else "the engine has ended"}, 200 if alive else 503)

    card = {"id": guard.model, "object": "model", "created": started, "owned_by": "lavaflow"}

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": [card]})

    async def model(request: Request) -> Response:
        if request.path_params["name"] != guard.model:
            raise Refused(404, f"there is no such model here; it is `{guard.model}`", code="model_not_found")
        return JSONResponse(card)

    async def chat(request: Request) -> Response:
        body = await _read(request, guard.max_body)
        asked = await run_in_threadpool(read_request, body, guard.model, guard.max_tokens, guard.max_pixels)
        return await _forward(request.app.state.client, engine, guard.model, asked)

    def guarded(handle: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def check(request: Request) -> Response:
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            right = hmac.compare_digest(given.strip().encode(), guard.key.encode())  # in constant time
            if scheme.lower() != "bearer" or not right:
                raise Refused(401, "wrong or missing API key; send it as `Authorization: Bearer <key>`")
            return await handle(request)

        return check

    routes = [
        Route("/health", health),
        Route("/v1/models", guarded(models)),
        Route("/v1/models/{name}", guarded(model)),
        Route("/v1/chat/completions", guarded(chat), methods=["POST"]),
    ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={Refused: _refuse, HTTPException: _refuse, Exception: _broken},
    )
    if log_requests:
        app.add_middleware(_Log)
    return app


async def _forward(client: httpx.AsyncClient, engine: Engine, model: str, asked: dict[str, Any]) -> Response:
    """The engine's answer to a checked request, under the public model name."""
    worded = await run_in_threadpool(engine.spec.request, asked) | {"model": engine.spec.model}
    sent = client.build_request("POST", "/v1/chat/completions", json=worded)
    try:
        reply = await client.send(sent, stream=True)
    except httpx.TransportError as error:
        raise Refused(503, f"the engine does not answer ({type(error).__name__})") from None
    if reply.status_code == 200 and asked.get("stream"):
        return StreamingResponse(_stream(reply, model), media_type="text/event-stream")
    try:
        content = await reply.aread()
    except httpx.TransportError as error:
        raise Refused(503, f"the engine broke off ({type(error).__name__})") from None
    finally:
        await reply.aclose()
    if reply.status_code != 200:
        raise _engine_error(reply.status_code, content, engine.spec.model, model)
    return JSONResponse(json.loads(content) | {"model": model})


async def _read(request: Request, most: int) -> bytes:
    """The body, up to `most` bytes; what is over is drained for a while, so that the client gets to read the answer."""
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size <= most:
                chunks.append(chunk)
            else:
                chunks.clear()
            if size > 4 * most:
                break
    except ClientDisconnect:
        raise Refused(400, "the request broke off") from None
    if size > most:
        raise Refused(413, f"the request is larger than {most:,} bytes", code="request_too_large")
    return b"".join(chunks)


async def _stream(reply: httpx.Response, model: str) -> AsyncIterator[bytes]:
    """The engine's events with the public model name, ended by `[DONE]` as OpenAI's are."""
    waiting = b""
    try:
        async for chunk in reply.aiter_bytes():
            waiting += chunk
            *events, waiting = waiting.split(b"\n\n")
            for event in events:
                data = event.removeprefix(b"data:").strip()
                if data and data != b"[DONE]":
                    yield _event(data, model)
        yield b"data: [DONE]\n\n"
    except httpx.TransportError as error:
        yield _event(json.dumps({"error": f"the engine broke off ({type(error).__name__})"}).encode(), model)
    finally:
        await reply.aclose()


def _event(data: bytes, model: str) -> bytes:
    try:
        value = json.loads(data)
    except ValueError:  # an error of the engine's that it did not quote
        value = {"error": "the engine failed"}
    if "error" in value:
        message = value["error"] if isinstance(value["error"], str) else value["error"].get("message", "")
        value = _error_form(message or "the engine failed", 500, None, None)
    else:
        value["model"] = model
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def _engine_error(status: int, content: bytes, private: str, public: str) -> Refused:
    """The engine's refusal in our words: its message where it is about the request, none of its inner workings."""
    if status >= 500:
        return Refused(502, "the engine failed on this request; its log says why")
    try:
        value: Any = json.loads(content)
        message = value.get("detail") or value.get("error", {}).get("message") or value.get("message")
    except (ValueError, AttributeError):
        message = None
    return Refused(status, str(message or "the engine refused the request").replace(private, public))


def _error_form(message: str, status: int, param: str | None, code: str | None) -> dict[str, Any]:
    kind = {401: "authentication_error", 404: "not_found_error"}.get(
        status, "invalid_request_error" if status < 500 else "server_error"
    )
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


async def _refuse(request: Request, error: Exception) -> Response:
    if isinstance(error, Refused):
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
        return JSONResponse(_error_form(error.message, error.status, error.param, error.code), error.status, headers)
    status = error.status_code if isinstance(error, HTTPException) else 500
    message = f"{request.method} {request.url.path} is not served here; see /v1/chat/completions and /v1/models"
    return JSONResponse(_error_form(message, status, None, None), status)


async def _broken(_: Request, error: Exception) -> Response:
    log.error("the front failed: %s: %s", type(error).__name__, error)
    return JSONResponse(_error_form("the server failed; its log says why", 500, None, None), 500)


class _Log:
    """One line a request, without its content."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] == "/health":  # which monitors ask every few seconds
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def noting(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            log.info("%s %s %d %.2f s", scope["method"], scope["path"], status, time.monotonic() - began)
