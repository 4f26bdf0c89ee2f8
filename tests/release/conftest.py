"""A registry that is made once and copied, and a real server that the tests of serving share."""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from release_data import NAME, Served, recipe, write_dataset

from tasks.evaluate.stage import evaluate
from tasks.recipe import Recipe
from tasks.refs import ModelRef
from tasks.release.registry import Registry
from tasks.release.serve import start_server
from tasks.store import digest_tree

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def first_use(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    """A folder where a process of its own was the first to use a new MLflow database, and what it printed.

    The database's migrations take seconds, so all tests start from a copy.
    """
    folder = tmp_path_factory.mktemp("mlflow")
    code = (
        "import sys; from release_data import recipe; from tasks.release import stage;"
        "stage.champion(recipe()); print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    environment = {**os.environ, "PYTHONPATH": path}
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    return folder, ran


@pytest.fixture
def plan(workspace: Path, first_use: tuple[Path, object]) -> Recipe:
    """A recipe with a model name and an experiment of its own in the session's MLflow store."""
    number = next(_NUMBERS)
    made = recipe(f"sqlite:///{first_use[0]}/mlflow.db")
    return made.model_copy(
        update={
            "promote": made.promote.model_copy(update={"model_name": f"{NAME}-{number}"}),
            "tracking": made.tracking.model_copy(update={"experiment": f"experiment-{number}"}),
        }
    )


@pytest.fixture
def registry(plan: Recipe) -> Registry:
    return Registry(plan.tracking, plan.promote.model_name)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_llava: Path) -> Iterator[Served]:
    """A random LLaVA behind `transformers serve` and the front, evaluated offline before."""
    folder, before = tmp_path_factory.mktemp("served"), Path.cwd()
    os.chdir(folder)  # the whole session's other tests go back to their own
    try:
        plan = recipe()
        weights = ModelRef(path=str(tiny_llava), digest=digest_tree(tiny_llava), form="gptq", bytes=1)
        data = write_dataset(folder / "prepared")
        answers = evaluate(weights, data, plan)
        answers = answers.model_copy(update={"path": str(folder / answers.path)})
        with start_server(plan, weights, port=0, log_file=folder / "engine.log") as server:
            os.chdir(before)
            yield Served(data, weights, answers, server)
    finally:
        os.chdir(before)
