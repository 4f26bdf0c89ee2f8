"""The registered model in MLflow: versions, their tags, and the aliases that say which one serves.

    registry = Registry(recipe.tracking, "digits-llava")
    version = registry.register(bundle, recipe)          # the same bundle again gives the same version
    registry.point("champion", version.number)
    registry.holder("champion").bundle.weights["gptq"].path

A version is registered by reference: its source is the `bundle` folder among its run's artifacts (bundle.json says
where the weights lie and what they hash to), which every server accepts; a path on this machine a remote one refuses.
This is the only file that knows MLflow. Importing MLflow takes seconds, so that happens when a Registry is made.
"""

import functools
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from pydantic import BaseModel, ConfigDict

from tasks.errors import LavaflowError
from tasks.recipe import Recipe, Tracking
from tasks.redact import shown
from tasks.release.bundle import Bundle, curves, metrics_of
from tasks.release.reachable import check_reachable

log = logging.getLogger(__name__)

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # else 70 lines of migrations at the first use of a database
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # one for each file of a few kilobytes
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # its default keeps a user waiting for minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}
"""How MLflow is run; a variable that is set already stays as it is. None changes a result."""
BARRED = "barred"
MOVE = "move"
"""Tag of the model that holds a move of aliases while it is under way."""
SOURCE = "bundle"
"""Folder among a run's artifacts."""


class Version(BaseModel):
    """A registered version."""

    model_config = ConfigDict(frozen=True)

    number: int
    run: str
    """Id of the MLflow run that holds its parameters, metrics and files."""
    bundle: Bundle
    tags: dict[str, str]

    @property
    def barred(self) -> str | None:
        """Why it may not be promoted, or None."""
        return self.tags.get(BARRED)


P = ParamSpec("P")
R = TypeVar("R")


def _worded(method: Callable[Concatenate["Registry", P], R]) -> Callable[Concatenate["Registry", P], R]:
    """What MLflow, its database or the network raises becomes one line that names the server."""

    @functools.wraps(method)
    def call(self: "Registry", /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except (LavaflowError, TypeError, AttributeError, AssertionError):
            raise
        except Exception as error:
            uri, said = shown(self.tracking.uri), " ".join(str(error).split())
            # MLflow quotes the address it asked, with its password, and the paths below it
            secret = self.tracking.uri.removesuffix(uri.partition("://")[2])
            reason = said.replace(secret, uri.partition("://")[0] + "://")[:300] or type(error).__name__
            raise LavaflowError(f"tracking.uri {uri}: {method.__name__}: {reason}") from None

    return call


class Registry:
    """One registered model on one tracking server."""

    def __init__(self, tracking: Tracking, name: str) -> None:
        """Connect.

        Raises:
            LavaflowError: the server is down, or the URI leads to none.
        """
        check_reachable(tracking.uri)
        for variable, value in SETTINGS.items():
            os.environ.setdefault(variable, value)
        from mlflow import MlflowClient

        self.tracking, self.name = tracking, name
        self.client = MlflowClient(tracking_uri=tracking.uri, registry_uri=tracking.uri)

    @_worded
    def register(
        self, bundle: Bundle, recipe: Recipe, *, metrics_file: Path | None = None, files: Sequence[Path] = ()
    ) -> Version:
        """The version of this bundle; a new one, with its run, only if there is none.

        Args:
            bundle: what the version stands for.
            recipe: its values become the run's parameters.
            metrics_file: a training's metrics.jsonl, logged as curves.
            files: files or folders that the run keeps a copy of.
        """
        if known := self.find(bundle.digest):
            return known if known.bundle.is_here else self._moved(known, bundle)
        if not self._models():
            self.client.create_registered_model(self.name)
        experiment = self._experiment()
        self._end_orphans(experiment, bundle.digest)
        run = self.client.create_run(
            experiment, run_name=f"{bundle.recipe}-{bundle.digest[:8]}", tags={"bundle": bundle.digest}
        ).info.run_id
        try:
            self._log(run, bundle, recipe, metrics_file, files)
        except BaseException:
            self.client.set_terminated(run, "FAILED")
            raise
        self.client.set_terminated(run, "FINISHED")
        tags = {
            "digest": bundle.digest,
            "recipe": bundle.recipe,
            "forms": ", ".join(bundle.weights),
            "holdout": bundle.holdout,
            **({"data": bundle.data.digest} if bundle.data else {}),
            **{f"digest.{form}": ref.digest for form, ref in bundle.weights.items()},
        }
        made = self.client.create_model_version(self.name, f"runs:/{run}/{SOURCE}", run, tags=tags)
        log.info("registered %s version %s", self.name, made.version)
        return Version(number=int(made.version), run=run, bundle=bundle, tags=tags)

    @_worded
    def find(self, digest: str) -> Version | None:
        """The version of the bundle with this digest."""
        found = self.client.search_model_versions(f"name='{self.name}' and tags.digest='{digest}'", max_results=1)
        return self._version(found[0]) if found else None

    @_worded
    def version(self, number: int) -> Version:
        """A version by its number.

        Raises:
            LavaflowError: there is none.
        """
        found = self.client.search_model_versions(f"name='{self.name}' and version_number='{number}'", max_results=1)
        if not found:
            raise LavaflowError(f"{self.name} has no version {number}; {self._known()}")
        return self._version(found[0])

    def holder(self, alias: str) -> Version | None:
        """The version that an alias points to."""
        number = self.aliases().get(alias)
        return None if number is None else self.version(number)

    @_worded
    def aliases(self) -> dict[str, int]:
        """Aliases and the numbers of their versions; empty if the model is not registered."""
        models = self._models()
        return {alias: int(number) for alias, number in models[0].aliases.items()} if models else {}

    @_worded
    def point(self, alias: str, number: int | None) -> None:
        """Let an alias point to a version, or to none."""
        if number is None:
            self.client.delete_registered_model_alias(self.name, alias)
        else:
            self.client.set_registered_model_alias(self.name, alias, str(number))

    @_worded
    def tag(self, number: int, key: str, value: str | None) -> None:
        """Set or, with None, remove a tag of a version."""
        if value is not None:
            self.client.set_model_version_tag(self.name, str(number), key, value)
        elif key in self.version(number).tags:
            self.client.delete_model_version_tag(self.name, str(number), key)

    @_worded
    def note_move(self, move: str | None) -> None:
        """Write down a move of aliases before it starts; None when it is done."""
        if move is None:
            self.client.delete_registered_model_tag(self.name, MOVE)
        else:
            self.client.set_registered_model_tag(self.name, MOVE, move)

    @_worded
    def noted_move(self) -> str | None:
        """The move that was under way when a process died."""
        models = self._models()
        return models[0].tags.get(MOVE) if models else None

    @_worded
    def judged_on(self, holdout: str) -> int:
        """How many versions were judged on this hold-out: each look makes luck likelier."""
        query = f"name='{self.name}' and tags.holdout='{holdout}'"
        return sum("judgement" in found.tags for found in self.client.search_model_versions(query, max_results=1000))

    @_worded
    def attach(self, version: Version, file: Path) -> None:
        """Keep a copy of a file, such as the report, in the version's run."""
        self.client.log_artifact(version.run, str(file))

    def _moved(self, known: Version, bundle: Bundle) -> Version:
        """The same results, made again elsewhere: the version learns where they lie now."""
        self._log_bundle(known.run, bundle)
        return known.model_copy(update={"bundle": bundle})

    def _models(self) -> list[Any]:
        return list(self.client.search_registered_models(f"name='{self.name}'", max_results=1))

    def _known(self) -> str:
        found = self.client.search_model_versions(f"name='{self.name}'", max_results=100)
        numbers = sorted(int(version.version) for version in found)
        return f"there are {', '.join(map(str, numbers))}" if numbers else "nothing is registered yet"

    def _version(self, found: Any) -> Version:
        file = Path(self.client.download_artifacts(found.run_id, f"{SOURCE}/bundle.json"))
        return Version(
            number=int(found.version),
            run=found.run_id,
            bundle=Bundle.model_validate_json(file.read_bytes()),
            tags=dict(found.tags),
        )

    def _experiment(self) -> str:
        known = self.client.get_experiment_by_name(self.tracking.experiment)
        return str(known.experiment_id if known else self.client.create_experiment(self.tracking.experiment))

    def _end_orphans(self, experiment: str, digest: str) -> None:
        """Runs of this bundle that a killed registration left open."""
        query = f"tags.bundle = '{digest}' and attributes.status = 'RUNNING'"
        for run in self.client.search_runs([experiment], query):
            self.client.set_terminated(run.info.run_id, "KILLED")

    def _log(self, run: str, bundle: Bundle, recipe: Recipe, metrics_file: Path | None, files: Sequence[Path]) -> None:
        from mlflow.entities import Dataset, DatasetInput, Metric, Param

        now = int(time.time() * 1000)
        # the tracking URI may hold a password
        values = _flat(recipe.model_dump(mode="json", exclude={"tracking"}))
        params = [Param(key, str(value)) for key, value in values.items()]
        for start in range(0, len(params), 100):  # the most that one request takes
            self.client.log_batch(run, params=params[start : start + 100])
        points = [Metric(name, value, now, 0) for name, value in metrics_of(bundle).items()]
        points += [
            Metric(name, value, now, step) for name, step, value in (curves(metrics_file) if metrics_file else [])
        ]
        for start in range(0, len(points), 1000):
            self.client.log_batch(run, metrics=points[start : start + 1000])
        if bundle.data:
            source = json.dumps({"path": bundle.data.path, "sha256": bundle.data.digest})
            data = Dataset(bundle.recipe, bundle.data.digest[:36], "lavaflow", source)  # 36: the longest it takes
            self.client.log_inputs(run, [DatasetInput(data, [])])
        for file in files:
            if file.is_dir():
                self.client.log_artifacts(run, str(file), file.name)
            elif file.suffix == ".dvc":  # under its own name, DVC would take the copy for data that is missing
                self.client.log_text(run, file.read_text(encoding="utf-8"), f"{file.name}.txt")
            else:
                self.client.log_artifact(run, str(file))
        self._log_bundle(run, bundle)  # last: a version's source is whole

    def _log_bundle(self, run: str, bundle: Bundle) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "bundle.json"
            path.write_text(bundle.model_dump_json(indent=1))
            self.client.log_artifact(run, str(path), SOURCE)


def _flat(values: Any, name: str = "") -> dict[str, Any]:
    """Nested values by dotted names; list items by their `name`, else by their number."""
    if isinstance(values, dict):
        items = list(values.items())
    elif isinstance(values, list) and any(isinstance(item, dict) for item in values):
        items = [(str(item.get("name", number)), item) for number, item in enumerate(values)]
    else:
        return {name: values}
    flat: dict[str, Any] = {}
    for key, value in items:
        flat |= _flat(value, f"{name}.{key}" if name else key)
    return flat
