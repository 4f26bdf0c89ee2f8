"""The deployments of prefect.yaml on a real server with a real worker."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml
from flow_data import RECIPE, ROOT, lavaflow

from tasks.child import child

BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def orchestra(tmp_path_factory, retrained):
    """Server, deployments and worker over the shared workspace; the environment that reaches them."""
    home, port = tmp_path_factory.mktemp("prefect"), free_port()
    environment = {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "LAVAFLOW_HOME": str(retrained[0]),
        "PYTHONPATH": str(ROOT),
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    serve = [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with child(serve, log=home / "server.log", environment=environment):
        wait_for(f"http://127.0.0.1:{port}/api/health")
        prefect(environment, "work-pool", "create", "lavaflow", "--type", "process")
        prefect(environment, "--no-prompt", "deploy", "--all", cwd=ROOT)
        worker = [str(BIN / "prefect"), "worker", "start", "--pool", "lavaflow", "--limit", "1"]
        with child(worker, log=home / "worker.log", environment=environment):
            yield environment, home


def prefect(environment: dict[str, str], *arguments: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(BIN / "prefect"), *arguments], env=os.environ | environment, capture_output=True, text=True, cwd=cwd
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wait_for(url: str) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} did not answer in a minute")


def flow_runs(environment: dict[str, str]) -> list[dict]:
    request = urllib.request.Request(
        environment["PREFECT_API_URL"] + "/flow_runs/filter", b"{}", {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def test_a_nightly_run_is_the_same_run(orchestra):
    environment, home = orchestra
    said = prefect(environment, "deployment", "run", "retrain/nightly", "-p", "recipe=tiny.yaml", "--watch")
    (run,) = [run for run in flow_runs(environment) if run["name"] == "tiny.yaml"]
    assert run["state_type"] == "COMPLETED", said + (home / "worker.log").read_text()[-3000:]
    assert "prepare: unchanged, taken from runs/prepare/" in prefect(environment, "flow-run", "logs", run["id"])
    assert "serves already; nothing has changed" in prefect(environment, "artifact", "inspect", "retraining")


def test_only_an_announcement_starts_the_run_on_new_data(orchestra, retrained):
    environment, _ = orchestra
    before = {run["id"] for run in flow_runs(environment)}
    os.environ["PREFECT_API_URL"] = environment["PREFECT_API_URL"]
    try:
        lavaflow(retrained[0], "data", "announce", "tiny.yaml")
    finally:
        del os.environ["PREFECT_API_URL"]
    for _ in range(300):
        new = [run for run in flow_runs(environment) if run["id"] not in before]
        if new:
            break
        time.sleep(0.1)
    (run,) = new
    assert run["parameters"]["recipe"] == "tiny.yaml"
    time.sleep(2)
    assert len([run for run in flow_runs(environment) if run["id"] not in before]) == 1


def test_an_announcement_without_a_server_is_one_line(tmp_path):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{free_port()}/api"
    try:
        done = lavaflow(tmp_path, "data", "announce", "tiny.yaml", check=False)
    finally:
        del os.environ["PREFECT_API_URL"]
    assert done.returncode == 2
    assert "no Prefect server answers at" in done.stderr
    assert "make up" in done.stderr
