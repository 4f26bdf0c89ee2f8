"""The registry: idempotent, whole, quiet, and clear about a server that is not there."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from release_data import DATA, base_bundle, bundle, recipe

from tasks.child import child
from tasks.errors import LavaflowError
from tasks.recipe import Recipe
from tasks.redact import without_secrets
from tasks.release import stage
from tasks.release.registry import Registry
from tasks.release.smoke import SmokeResult


def test_the_same_bundle_again_is_the_same_version(plan: Recipe, registry: Registry) -> None:
    made = bundle(plan, "a", 80)
    first = stage.register(plan, made)
    assert stage.register(plan, made.model_copy(update={"commit": "later"})) == registry.version(first.number)
    other = stage.register(plan, bundle(plan, "b", 80))
    assert other.number == first.number + 1
    assert len(registry.client.search_runs([registry._experiment()])) == 2
    assert registry.aliases() == {"candidate": other.number}


def test_results_that_were_made_again_elsewhere_are_the_same_version(plan: Recipe, registry: Registry) -> None:
    first = stage.register(plan, bundle(plan, "a", 80))
    Path("runs/a").rename("runs/b")
    moved = {form: ref.model_copy(update={"path": f"runs/b/{Path(ref.path).name}"})
             for form, ref in first.bundle.weights.items()}  # fmt: skip
    again = {form: ref.model_copy(update={"path": f"runs/b/{Path(ref.path).name}"})
             for form, ref in first.bundle.reports.items()}  # fmt: skip
    version = stage.register(plan, first.bundle.model_copy(update={"weights": moved, "reports": again}))
    assert version.number == first.number
    assert registry.version(first.number).bundle.served.path == "runs/b/gptq"


def test_an_error_of_the_tracking_server_does_not_tell_its_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # which takes connections and answers none
        uri = f"http://me:hunter2@127.0.0.1:{server.getsockname()[1]}"
        code = f"""
from release_data import NAME, recipe
from tasks.redact import without_secrets
from tasks.release.registry import Registry
Registry(recipe({uri!r}).tracking, NAME).aliases()
"""
        environment = os.environ | {
            "PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[2]}",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "1",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        }
        said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stderr
    assert "LavaflowError: tracking.uri http://127.0.0.1" in said
    assert "hunter2" not in said


def test_a_version_comes_back_with_all_it_stands_for(plan: Recipe, registry: Registry) -> None:
    made = bundle(plan, "a", 80)
    number = stage.register(plan, made).number
    version = registry.version(number)
    assert version.bundle == made
    assert version.tags["digest"] == made.digest
    assert version.tags["forms"] == "adapter, merged, gptq"
    assert version.tags["digest.gptq"] == made.weights["gptq"].digest
    assert version.barred is None
    # by reference to its run, which any server takes
    assert registry.client.get_model_version(registry.name, str(number)).source == f"runs:/{version.run}/bundle"


def test_a_run_holds_parameters_curves_scores_data_and_files(plan: Recipe, registry: Registry) -> None:
    Path("prepared.dvc").write_text("outs: []\n")
    run = stage.register(plan, bundle(plan, "a", 80), files=[Path("prepared.dvc")]).run
    found = registry.client.get_run(run)
    assert found.info.status == "FINISHED"
    assert found.data.params["train.stages.align.projector.lr"] == "0.001"
    assert found.data.params["serve.weights"] == "gptq"
    assert found.data.metrics["gptq/holdout/accuracy"] == 40.0
    assert [point.value for point in registry.client.get_metric_history(run, "train/loss")] == [2.0, 1.0, 2.0, 1.0]
    assert [point.step for point in registry.client.get_metric_history(run, "train/loss")] == [0, 1, 2, 3]
    assert found.inputs.dataset_inputs[0].dataset.digest == DATA.digest[:36]
    names = {file.path for file in registry.client.list_artifacts(run)}
    assert names == {"adapter", "bundle", "endings.json", "metrics.jsonl", "prepared.dvc.txt"}


def test_no_password_of_the_tracking_server_is_logged(plan: Recipe, registry: Registry) -> None:
    run = stage.register(plan, bundle(plan, "a", 80)).run
    assert not any(name.startswith("tracking") for name in registry.client.get_run(run).data.params)


def test_a_registration_that_was_killed_leaves_no_version_and_no_open_run(plan: Recipe, registry: Registry) -> None:
    made = bundle(plan, "a", 80)
    experiment = registry.client.create_experiment(plan.tracking.experiment)
    orphan = registry.client.create_run(experiment, tags={"bundle": made.digest}).info.run_id
    version = stage.register(plan, made)
    assert version.number == 1
    assert registry.client.get_run(orphan).info.status == "KILLED"
    assert registry.client.get_run(version.run).info.status == "FINISHED"


def test_a_registration_that_fails_leaves_no_version(plan: Recipe, registry: Registry) -> None:
    made = bundle(plan, "a", 80)
    Path("runs/a/train/metrics.jsonl").write_text("no json")
    with pytest.raises(LavaflowError, match="register"):
        stage.register(plan, made)
    assert registry.find(made.digest) is None
    assert [run.info.status for run in registry.client.search_runs([registry._experiment()])] == ["FAILED"]


def test_the_base_is_the_first_champion_and_only_then(plan: Recipe, registry: Registry) -> None:
    base = base_bundle(plan)
    first = stage.ensure_champion(plan, base)
    assert registry.aliases() == {"champion": first.number}
    later = base.model_copy(update={"holdout": "other", "serve_weights": "merged"})
    assert stage.ensure_champion(plan, later).number == first.number
    assert registry.find(later.digest) is None
    assert first.bundle.full.form == first.bundle.served.form == "base"


def test_nothing_is_registered_yet(plan: Recipe, registry: Registry) -> None:
    assert stage.champion(plan) is None
    with pytest.raises(LavaflowError, match=f"{registry.name} has no version 3; nothing is registered yet"):
        registry.version(3)


def test_a_file_can_join_a_version_later(plan: Recipe, registry: Registry) -> None:
    version = stage.register(plan, bundle(plan, "a", 80))
    Path("report.html").write_text("<html>")
    stage.attach(plan, version, Path("report.html"))
    assert "report.html" in {file.path for file in registry.client.list_artifacts(version.run)}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://127.0.0.1:{port}", "no server answers"),
        ("postgresql://user:secret@127.0.0.1:{port}/mlflow", "no server answers"),
        ("./mlruns", "not a tracking store"),
        ("sqlite:///text.db", "not an SQLite database"),
        ("sqlite:///text.db/mlflow.db", "name another file"),
    ],
)
def test_a_tracking_server_that_is_not_there_is_one_line_in_seconds(workspace: Path, uri: str, said: str) -> None:
    Path("text.db").write_text("a text that is longer than its magic number\n")
    started = time.monotonic()
    with pytest.raises(LavaflowError, match=said) as caught:
        stage.champion(recipe(uri.format(port=free_port())))
    assert time.monotonic() - started < 8
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_what_mlflow_raises_becomes_one_line(plan: Recipe, registry: Registry) -> None:
    with pytest.raises(LavaflowError, match="tracking.uri sqlite:.*: point: ") as caught:
        registry.point("champion", 7)
    assert "\n" not in str(caught.value)


def test_a_new_database_is_made_quietly_and_without_torch(
    first_use: tuple[Path, "subprocess.CompletedProcess[str]"],
) -> None:
    folder, ran = first_use
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "[]\n", "")
    assert (folder / "mlflow.db").exists()


def test_asking_the_registry_prints_nothing(plan: Recipe, capfd: pytest.CaptureFixture[str]) -> None:
    number = stage.register(plan, bundle(plan, "a", 80)).number
    Registry(plan.tracking, plan.promote.model_name).version(number)
    assert capfd.readouterr() == ("", "")


def test_a_remote_server_takes_the_same_steps(plan: Recipe, first_use: tuple[Path, object], workspace: Path) -> None:
    port = free_port()
    shutil.copy(first_use[0] / "mlflow.db", "server.db")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{workspace}/server.db"]
    command += ["--artifacts-destination", f"{workspace}/artifacts", "--host", "127.0.0.1", "--port", str(port)]
    quick = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with child([*command, "--workers", "1"], log=Path("server.log"), environment=quick):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.2)
        remote = recipe(f"http://127.0.0.1:{port}")
        base = stage.ensure_champion(remote, base_bundle(remote))
        made = bundle(remote, "a", 90)
        version = stage.register(remote, made)
        assert stage.register(remote, made).number == version.number
        smoke = SmokeResult(engine="transformers", asked=1, answered=1, same=1, differing=[])
        stage.judge(remote, version, base, base.bundle.report("gptq"), smoke)
        assert stage.promote(remote).outcome == "promoted"
        found = stage.champion(remote)
        assert found is not None
        assert found.bundle == made
        assert stage.rollback(remote).champion == base.number


def test_the_recipe_as_it_is_shown_has_no_password() -> None:
    kept = without_secrets(recipe("postgresql://me:hunter2@db:5432/mlflow"))
    assert kept.tracking.uri == "postgresql://db:5432/mlflow"
    assert "hunter2" not in kept.model_dump_json()
