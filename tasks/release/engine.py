"""The engine behind the server: `transformers serve` or vLLM as a child process on a private loopback port.

    with running(transformers_engine(folder, device="cpu", dtype="float32"), log=Path("runs/serve/x.log")) as engine:
        engine.url, engine.model, engine.is_alive()

What transformers 5.17's server does otherwise than a user of OpenAI's API would expect, and where it is mended:
- no key, loads any model a request names, fetches any URL or local file as a picture: the front lets nothing pass but
  known fields, this model and data URIs;
- the request's `model` must be the exact path it was started with, and an `@` in it is read as a revision: it is
  started in the model's parent folder with the folder's bare name;
- a temperature above 0 does not sample if the model's own generation config is greedy: `request` sends a whole one;
- a prompt that is longer than the model's context is answered, with nonsense: `request` refuses it;
- without max_tokens it writes 1,024 tokens; `stop` and damaged pictures are a 500; a stream has no `[DONE]`: the front.

The engine's port has no key of its own under `transformers serve`: other users of the same machine can reach it.
"""

import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from tasks.child import child
from tasks.errors import LavaflowError
from tasks.release.chat import Refused

log = logging.getLogger(__name__)

VLLM_PYTHON = Path(".vllm/bin/python")
READY_SECONDS = 1800
"""A 7B model from a slow disk, compiled, takes a while."""
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "LAVAFLOW_API_KEY": "",  # the key is the front's business
}
ON_CPU = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}

Request = dict[str, Any]


@dataclass(frozen=True)
class EngineSpec:
    """How to start an engine and how to talk to it."""

    name: str
    command: list[str]
    """The port is appended."""
    folder: Path
    """Working folder of the process."""
    model: str
    """What requests call the model."""
    environment: Mapping[str, str] = field(default_factory=dict)
    request: Callable[[Request], Request] = dict
    """Words a request as the engine understands it."""


@dataclass(frozen=True)
class Engine:
    """A running engine."""

    spec: EngineSpec
    url: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self.process.poll() is None


def transformers_engine(model: Path, *, device: str, dtype: str) -> EngineSpec:
    """`transformers serve` for the model in a folder, computing as the offline evaluation does."""
    folder = model.resolve()
    command = [sys.executable, "-P", "-m", "transformers.cli.transformers", "serve", folder.name]
    command += ["--host", "127.0.0.1", "--device", device, "--dtype", dtype, "--port"]
    defaults = _json(folder / "generation_config.json")
    tokens = {name: value for name, value in defaults.items() if name.endswith("_token_id")}
    check = _context_check(folder)

    def request(body: Request) -> Request:
        check(body)
        if body.get("temperature"):
            sampling = {"do_sample": True, "top_k": 0, "max_new_tokens": body["max_tokens"]}
            body = {**body, "generation_config": json.dumps(tokens | sampling)}
        return {name: value for name, value in body.items() if name != "stream_options"}

    return EngineSpec("transformers", command, folder.parent, folder.name, QUIET, request)


def _context_check(model: Path) -> Callable[[Request], None]:
    """Refuses what does not fit the model's context; `transformers serve` would answer nonsense, or fill the memory."""
    config, file = _json(model / "config.json"), model / "tokenizer.json"
    context = config.get("text_config", config).get("max_position_embeddings")
    if context is None or not file.exists():
        return lambda body: None
    tokenizer = Tokenizer.from_file(str(file))

    def check(body: Request) -> None:
        contents = [message["content"] for message in body["messages"]]
        parts = [part for content in contents if not isinstance(content, str) for part in content]
        texts = [content for content in contents if isinstance(content, str)]
        texts += [part["text"] for part in parts if part["type"] == "text"]
        pictures = sum(part["type"] == "image_url" for part in parts)
        asked = sum(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts)
        asked += pictures * config.get("image_seq_length", 0)
        if asked + body["max_tokens"] > context:
            message = f"{asked} tokens and {body['max_tokens']} of the answer do not fit the model's {context}"
            raise Refused(400, message, param="messages", code="context_length_exceeded")

    return check


def _json(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def vllm_engine(model: Path, *, device: str, name: str) -> EngineSpec:
    """vLLM's OpenAI server from its own environment.

    Raises:
        LavaflowError: that environment was not made.
    """
    if not VLLM_PYTHON.exists():
        raise LavaflowError("serve.engine is vllm, but .vllm is not here: run `make vllm`, or set it to transformers")
    module = "vllm.entrypoints.openai.api_server"
    command = [str(VLLM_PYTHON.absolute()), "-P", "-m", module, "--model", str(model.resolve())]
    command += ["--served-model-name", name, "--host", "127.0.0.1", "--dtype", "auto", "--generation-config", "vllm"]
    environment = dict(QUIET)
    if device == "cpu" or (device == "auto" and not Path("/dev/nvidiactl").exists()):
        command += ["--enforce-eager", "--model-impl", "transformers"]
        environment |= ON_CPU
    return EngineSpec("vllm", [*command, "--port"], Path.cwd(), name, environment)


@contextmanager
def running(spec: EngineSpec, *, log_file: Path) -> Iterator[Engine]:
    """Start an engine, wait until it answers, stop it at the end.

    Raises:
        LavaflowError: it ended while starting, with the last line of its log.
    """
    port = _free_port()
    with child([*spec.command, str(port)], log=log_file, environment=spec.environment, folder=spec.folder) as process:
        engine = Engine(spec, f"http://127.0.0.1:{port}", process, log_file)
        _wait_until_ready(engine)
        yield engine


def _wait_until_ready(engine: Engine) -> None:
    import httpx

    log.info("starting %s; its log is %s", engine.spec.name, engine.log)
    started = time.monotonic()
    with httpx.Client(trust_env=False, timeout=5) as client:
        while True:
            if not engine.is_alive():
                raise LavaflowError(
                    f"{engine.spec.name} ended while starting (exit code {engine.process.returncode}): "
                    f"{_last_line(engine.log)}; its log is {engine.log}"
                )
            try:
                if client.get(f"{engine.url}/health").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            if time.monotonic() - started > READY_SECONDS:
                raise LavaflowError(f"{engine.spec.name} was not up in {READY_SECONDS} s; its log is {engine.log}")
            time.sleep(0.1)
    log.info("%s is up after %.1f s", engine.spec.name, time.monotonic() - started)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _last_line(file: Path) -> str:
    lines = [line.strip() for line in file.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it printed nothing"
