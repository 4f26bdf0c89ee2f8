"""The server as its clients meet it: the real engine, the real front, the real client."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AuthenticationError, BadRequestError, NotFoundError, OpenAI
from release_data import NAME, Served, bundle, recipe

from tasks.dataset import Dataset
from tasks.errors import LavaflowError
from tasks.recipe import Recipe
from tasks.release import stage
from tasks.release.bundle import make_bundle
from tasks.release.registry import Registry
from tasks.release.serve import api_key, serve, start_server
from tasks.release.smoke import ask, ask_holdout, data_uri


@pytest.fixture
def client(served: Served) -> OpenAI:
    return OpenAI(base_url=served.server.base_url, api_key=served.server.key, max_retries=0)


@pytest.fixture
def picture(served: Served) -> bytes:
    data = Dataset(Path(served.data.path))
    return data.image_bytes(data.all_rows[0].images[0])


def post(served: Served, body: Any, key: str | None = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {served.server.key if key is None else key}"}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(f"{served.server.base_url}/chat/completions", content=content, headers=headers, timeout=60)


def question(**fields: Any) -> dict[str, Any]:
    return {"model": NAME, "messages": [{"role": "user", "content": "Is the ink red?"}], **fields}


def test_the_served_model_answers_as_the_offline_evaluation_did(served: Served) -> None:
    data = Dataset(Path(served.data.path))
    result = ask_holdout(served.server, served.report, data, count=100, max_tokens=8)
    assert (result.asked, result.answered, result.same) == (12, 12, 12), result.differing


def test_a_different_offline_answer_is_reported(served: Served, tmp_path: Path) -> None:
    lines = (served.report.folder / "holdout.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    (tmp_path / "holdout.jsonl").write_text("\n".join([json.dumps(first | {"prediction": "other"}), *lines[1:], ""]))
    changed = served.report.model_copy(update={"path": str(tmp_path)})
    result = ask_holdout(served.server, changed, Dataset(Path(served.data.path)), count=6, max_tokens=8)
    assert (result.asked, result.answered, result.same) == (6, 6, 5)
    assert [(d.id, d.offline) for d in result.differing] == [(first["id"], "other")]
    assert result.differing[0].served == first["prediction"]


def test_one_question_with_a_picture_is_answered(served: Served, picture: bytes) -> None:
    assert ask(served.server, "Which number is shown?", picture)
    assert ask(served.server, "Is the ink red?", max_tokens=1) != ask(served.server, "Is the ink red?")
    with pytest.raises(LavaflowError, match="at most 16"):
        ask(served.server, "Is the ink red?", max_tokens=17)


def test_the_reply_has_openais_form_and_the_public_name(served: Served, client: OpenAI) -> None:
    reply = client.chat.completions.create(**question(max_tokens=3))
    assert reply.model == NAME
    assert reply.choices[0].message.role == "assistant"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 3
    assert reply.choices[0].finish_reason == "length"
    assert [model.id for model in client.models.list()] == [NAME]
    assert client.models.retrieve(NAME).id == NAME
    lower = {"Authorization": f"bearer {served.server.key}"}  # the scheme has no case (RFC 9110, 11.1)
    assert httpx.get(f"{served.server.base_url}/models", headers=lower).status_code == 200


def test_a_stream_says_the_same_and_ends_as_openais_does(served: Served, client: OpenAI, picture: bytes) -> None:
    content = [{"type": "image_url", "image_url": {"url": data_uri(picture)}}, {"type": "text", "text": "what?"}]
    asked = question(messages=[{"role": "user", "content": content}])
    whole = client.chat.completions.create(**asked).choices[0].message.content
    chunks = list(client.chat.completions.create(**asked, stream=True))
    assert {chunk.model for chunk in chunks} == {NAME}
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    # a random model may end within a character, which a stream holds back
    assert said.rstrip("\ufffd") == (whole or "").rstrip("\ufffd")
    assert chunks[-1].choices[0].finish_reason in ("length", "stop")
    assert post(served, {**asked, "stream": True}).text.endswith("\n\ndata: [DONE]\n\n")


def test_a_temperature_samples_and_a_seed_repeats_it(client: OpenAI) -> None:
    def said(**fields: Any) -> str | None:
        return client.chat.completions.create(**question(**fields)).choices[0].message.content

    assert said() == said(temperature=0)
    hot = [said(temperature=2, seed=seed) for seed in (1, 1, 2)]
    assert hot[0] == hot[1] != hot[2]
    assert hot[0] != said()


@pytest.mark.parametrize("key", ["", "wrong", "lf-", "ключ"])
def test_a_wrong_key_is_turned_away(served: Served, key: str) -> None:
    header = {"Authorization": f"Bearer {key}".strip().encode()}
    for path in ("chat/completions", "models"):
        method = "POST" if path != "models" else "GET"
        reply = httpx.request(method, f"{served.server.base_url}/{path}", headers=header)
        assert reply.status_code == 401
        assert reply.json()["error"]["type"] == "authentication_error"
    assert httpx.get(f"{served.server.base_url}/models").status_code == 401
    with pytest.raises(AuthenticationError):
        OpenAI(base_url=served.server.base_url, api_key="wrong", max_retries=0).models.list()


def test_a_body_over_the_cap_gets_413_and_one_under_it_does_not(served: Served, picture: bytes) -> None:
    for size, status in ((1_000_001, 413), (3_500_000, 413), (900_000, 400)):
        reply = post(served, question(padding="x" * size))
        assert reply.status_code == status
        assert reply.json()["error"]["message"]


def test_the_cap_holds_where_no_length_is_announced(served: Served) -> None:
    pieces = (b"x" * 10_000 for _ in range(200))
    headers = {"Authorization": f"Bearer {served.server.key}"}
    reply = httpx.post(f"{served.server.base_url}/chat/completions", content=pieces, headers=headers)
    assert reply.status_code == 413


def test_a_remote_picture_is_not_fetched(served: Served, client: OpenAI) -> None:
    with socket.socket() as trap:  # would be asked if the server fetched anything
        trap.bind(("127.0.0.1", 0))
        trap.listen()
        trap.settimeout(0.3)
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/a.png"
        content = [{"type": "image_url", "image_url": {"url": url}}]
        with pytest.raises(BadRequestError, match="not fetched"):
            client.chat.completions.create(**question(messages=[{"role": "user", "content": content}]))
        with pytest.raises(TimeoutError):
            trap.accept()


def test_an_unknown_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(NotFoundError, match=f"no model `gpt-4` here; it is `{NAME}`"):
        client.chat.completions.create(**question(model="gpt-4"))


def test_what_the_engine_offers_besides_is_not_served(served: Served) -> None:
    headers = {"Authorization": f"Bearer {served.server.key}"}
    root = served.server.base_url.removesuffix("/v1")
    for method, path in (("POST", "/load_model"), ("POST", "/reset"), ("POST", "/v1/responses"), ("GET", "/docs")):
        reply = httpx.request(method, f"{root}{path}", headers=headers, json={"model": "x"})
        assert reply.status_code == 404
        assert "is not served here" in reply.json()["error"]["message"]
    assert httpx.get(f"{served.server.base_url}/chat/completions", headers=headers).status_code == 405
    assert httpx.get(f"{root}/health").json() == {"status": "ok"}


def test_a_prompt_that_does_not_fit_the_context_is_refused(served: Served, client: OpenAI, picture: bytes) -> None:
    image = {"type": "image_url", "image_url": {"url": data_uri(picture)}}

    def send(*content: dict[str, Any]) -> None:
        client.chat.completions.create(**question(messages=[{"role": "user", "content": list(content)}], max_tokens=8))

    # the tiny model has 512 positions and 16 a picture; this text's letters are a token each
    send(image, {"type": "text", "text": "z" * 470})
    with pytest.raises(BadRequestError, match="505 tokens and 8 of the answer do not fit the model's 512"):
        send(image, {"type": "text", "text": "z" * 489})


def test_no_error_tells_of_the_machine(served: Served) -> None:
    for body in (b"{", question(extra=1), question(model="x"), question(messages=[{"role": "system", "content": ""}])):
        text = post(served, body).text
        assert str(served.weights.folder) not in text
        assert served.server.engine.url not in text


def test_a_port_in_use_is_one_line_before_the_engine_starts(served: Served, workspace: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        started = time.monotonic()
        with (
            pytest.raises(LavaflowError, match=rf"serve.port {port} on 127.0.0.1: Address already in use; stop"),
            start_server(recipe(port=port), served.weights),
        ):
            pass
        assert time.monotonic() - started < 2


def test_weights_that_do_not_load_are_one_line_with_the_logs_place(workspace: Path) -> None:
    made = bundle(recipe(), "a", 80)
    with (
        pytest.raises(
            LavaflowError, match=r"transformers ended while starting .*its log is runs/serve/tiny-llava.log"
        ) as caught,
        start_server(recipe(), made.weights["gptq"], port=0),
    ):
        pass
    assert "\n" not in str(caught.value)
    gone = made.weights["gptq"].model_copy(update={"path": "nowhere"})
    with pytest.raises(LavaflowError, match="not at nowhere"), start_server(recipe(), gone, port=0):
        pass


def test_vllm_without_its_environment_says_how_to_make_it(served: Served, workspace: Path) -> None:
    with (
        pytest.raises(LavaflowError, match="run `make vllm`"),
        start_server(recipe(engine="vllm"), served.weights, port=0),
    ):
        pass


def test_nothing_to_serve_is_one_line(plan: Recipe) -> None:
    with pytest.raises(LavaflowError, match="has no champion yet"):
        serve(plan)


def test_the_key_is_made_once_and_is_private(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAVAFLOW_API_KEY", raising=False)
    key, place = api_key("m")
    assert place == "runs/serve/m.key"
    assert stat.S_IMODE(Path(place).stat().st_mode) == 0o600
    assert len(key) > 40
    Path(place).chmod(0o644)
    assert api_key("m") == (key, place)
    assert stat.S_IMODE(Path(place).stat().st_mode) == 0o600
    assert api_key("other")[0] != key
    monkeypatch.setenv("LAVAFLOW_API_KEY", "a-key-of-ones-own")
    assert api_key("m") == ("a-key-of-ones-own", "$LAVAFLOW_API_KEY")
    monkeypatch.setenv("LAVAFLOW_API_KEY", "short")
    with pytest.raises(LavaflowError, match="LAVAFLOW_API_KEY is no key"):
        api_key("m")


def test_the_key_is_in_no_text_about_the_server(served: Served) -> None:
    assert served.server.key not in repr(served.server)
    assert served.server.key not in served.server.engine.log.read_text()


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


SERVE = """
import sys, time
from pathlib import Path
from release_data import recipe
from tasks.refs import ModelRef
from tasks.release.serve import start_server
weights = ModelRef(path=sys.argv[1], digest="x", form="gptq", bytes=1)
with start_server(recipe(), weights, port=0) as server:
    print(server.engine.process.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's")
def test_the_engine_dies_with_its_parent_on_kill_nine(served: Served, workspace: Path) -> None:
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    parent = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(served.weights.folder)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert parent.stdout is not None
    engine = int(parent.stdout.readline())
    assert is_running(engine)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 20
    while is_running(engine) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_running(engine)


FOREGROUND = """
import logging, sys
from tasks.recipe import Recipe
from tasks.release.serve import serve
logging.basicConfig(level="WARNING", format="%(message)s", stream=sys.stdout)
logging.getLogger("tasks").setLevel("INFO")
serve(Recipe.model_validate_json(sys.argv[1]))
"""


def test_the_champion_serves_in_the_foreground_until_it_is_told_to_stop(served: Served, plan: Recipe) -> None:
    made = make_bundle(plan, weights=[served.weights], reports=[served.report], data=served.data)
    Registry(plan.tracking, plan.promote.model_name).point("champion", stage.register(plan, made).number)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    here = plan.model_copy(update={"serve": plan.serve.model_copy(update={"port": port})})
    process = subprocess.Popen(
        [sys.executable, "-c", FOREGROUND, here.model_dump_json()], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"{url}/health").raise_for_status()
            break
        except httpx.HTTPError:  # the port is taken early, and nobody listens yet
            time.sleep(0.2)
    key = Path(f"runs/serve/{plan.promote.model_name}.key").read_text().strip()
    models = httpx.get(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"}).json()
    assert [model["id"] for model in models["data"]] == [plan.promote.model_name]
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, b"")
    assert f"{url}/v1, key in runs/serve/" in out.decode()
    assert "GET /v1/models 200" in out.decode()
    assert "/health" not in out.decode()
    assert key not in out.decode()


def test_the_smoke_test_is_not_done_again_for_the_same_version(
    served: Served, plan: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_bundle(plan, weights=[served.weights], reports=[served.report], data=served.data)
    version = stage.register(plan, made)
    monkeypatch.setattr(stage, "start_server", lambda *_, **__: nullcontext(served.server))  # it is up already
    first = stage.smoke(plan, version, served.data)
    assert (first.asked, first.same) == (12, 12)
    monkeypatch.undo()
    assert stage.smoke(plan, version, served.data) == first
    assert not list(Path("runs/serve").glob("*-smoke.log")), "no server was started"
