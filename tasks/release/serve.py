"""`lavaflow serve RECIPE`: the champion behind an OpenAI-compatible server with a key.

    with start_server(recipe, weights) as server:      # for the smoke test and the demo
        server.base_url, server.key, server.model
    serve(recipe)                                      # until Ctrl-C

Two parts: the engine (tasks/release/engine.py), a child process that computes, and the front (tasks/release/front.py),
a thread of this process that clients talk to. Both are gone when this process is, however it ends.
"""

import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from tasks.errors import LavaflowError
from tasks.recipe import Recipe
from tasks.refs import ModelRef

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from tasks.release.engine import Engine, EngineSpec

log = logging.getLogger(__name__)

FOLDER = Path("runs/serve")
KEY_VARIABLE = "LAVAFLOW_API_KEY"
SHORTEST_KEY = 16
CONNECTIONS = 100
"""More at once are told to come again (503)."""


@dataclass(frozen=True)
class Server:
    """A running server, as its clients see it."""

    base_url: str
    """Such as http://127.0.0.1:9100/v1."""
    model: str
    key: str = field(repr=False)
    key_place: str
    """Where a person finds the key."""
    engine: "Engine"


def serve(recipe: Recipe) -> None:
    """Serve the champion until Ctrl-C or SIGTERM.

    Raises:
        LavaflowError: nothing is registered, the port is taken, or the engine ended by itself.
    """
    from tasks.release.registry import Registry

    champion = Registry(recipe.tracking, recipe.promote.model_name).holder("champion")
    if champion is None:
        raise LavaflowError(f"{recipe.promote.model_name} has no champion yet: run `lavaflow retrain` first")
    weights = champion.bundle.served
    if champion.bundle.serve_weights != recipe.serve.weights:
        log.warning(
            "serve.weights is %s now, but version %d was judged with its %s weights, which serve: "
            "`lavaflow retrain` judges the others",
            *(recipe.serve.weights, champion.number, weights.form),
        )
    stop, started = threading.Event(), False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        if not started:  # the engine loads for minutes, and asks nobody meanwhile
            raise KeyboardInterrupt

    earlier = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with start_server(recipe, weights, log_requests=True) as server:
            started = True
            log.info("version %d (%s) serves as %s", champion.number, weights.form, server.model)
            log.info("%s, key in %s; Ctrl-C ends it", server.base_url, server.key_place)
            while not stop.wait(0.5):
                if not server.engine.is_alive():
                    raise LavaflowError(f"{server.engine.spec.name} ended by itself; its log is {server.engine.log}")
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


@contextmanager
def start_server(
    recipe: Recipe,
    weights: ModelRef,
    *,
    port: int | None = None,
    log_file: Path | None = None,
    log_requests: bool = False,
) -> Iterator[Server]:
    """A server of `weights`, ended on leaving.

    Args:
        recipe: its sections `serve` and `model` and the model's name decide.
        weights: what to serve.
        port: default the recipe's; 0 takes a free one.
        log_file: for what the engine prints; default runs/serve/<model>.log.
        log_requests: one line for each, without its content.

    Raises:
        LavaflowError: the port is taken, the weights are gone, a package is missing, or the engine does not start.
    """
    try:
        from tasks.release.engine import running
        from tasks.release.front import Guard, make_app
    except ModuleNotFoundError as error:
        raise LavaflowError(f"serving needs {error.name}: pip install 'lavaflow[serve]'") from None
    name = recipe.promote.model_name
    if not weights.folder.is_dir():
        raise LavaflowError(f"the weights to serve are not at {weights.path}: make them with `lavaflow retrain`")
    key, place = api_key(name)
    guard = Guard(
        model=name,
        key=key,
        max_body=int(recipe.serve.max_body_mb * 1e6),
        max_tokens=recipe.serve.max_new_tokens,
        max_pixels=recipe.prepare.images.max_pixels,
    )
    with (
        # before the engine, which takes long: a taken port is known at once
        _listen(recipe.serve.host, recipe.serve.port if port is None else port) as listener,
        running(_engine(recipe, weights), log_file=log_file or FOLDER / f"{name}.log") as engine,
        _front(make_app(engine, guard, log_requests=log_requests), listener),
    ):
        host, taken = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        yield Server(f"http://{shown}:{taken}/v1", name, key, place, engine)


def api_key(model: str) -> tuple[str, str]:
    """The server's key, and where a person finds it: the environment's, or one of our own in a private file.

    Raises:
        LavaflowError: the environment's is too short to be one.
    """
    if given := os.environ.get(KEY_VARIABLE):
        if len(given) < SHORTEST_KEY or not given.isascii():
            raise LavaflowError(f"{KEY_VARIABLE} is no key: use at least {SHORTEST_KEY} ASCII characters")
        return given, f"${KEY_VARIABLE}"
    file = FOLDER / f"{model}.key"
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
            opened.write(f"lf-{secrets.token_urlsafe(32)}\n")
        try:
            os.link(new, file)  # whole or not at all, and never over another's
        finally:
            new.unlink()
    except FileExistsError:
        file.chmod(0o600)
    key = file.read_text().strip()
    if len(key) < SHORTEST_KEY:
        raise LavaflowError(f"{file} holds no key: delete it, and a new one is made")
    return key, str(file)


def _engine(recipe: Recipe, weights: ModelRef) -> "EngineSpec":
    from tasks.release.engine import transformers_engine, vllm_engine

    if recipe.serve.engine == "vllm":
        return vllm_engine(weights.folder, device=recipe.model.device, name=recipe.promote.model_name)
    return transformers_engine(weights.folder, device=recipe.model.device, dtype=recipe.model.dtype)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise LavaflowError(f"serve.host {host}: {error.strerror}; use 127.0.0.1") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise LavaflowError(
            f"serve.port {port} on {host}: {error.strerror}; stop what listens there, or choose another with "
            "--set serve.port=..."
        ) from None
    return listener


@contextmanager
def _front(app: "Starlette", listener: socket.socket) -> Iterator[None]:
    """The app, served in a thread."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,  # our own logging, not uvicorn's
        access_log=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="front", daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise LavaflowError("the server's front did not start; its log lines above say why")
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=15)
