"""One retraining that the flow's tests share."""

from pathlib import Path

import pytest
from flow_data import lavaflow, write_workspace


@pytest.fixture(scope="session")
def retrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A workspace after `lavaflow retrain tiny.yaml`, and what the command said."""
    folder = tmp_path_factory.mktemp("flow")
    write_workspace(folder)
    done = lavaflow(folder, "retrain", "tiny.yaml")
    return folder, done.stdout, done.stderr
