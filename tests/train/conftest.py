"""A small prepared dataset that the training tests share."""

from pathlib import Path

import pytest
from train_data import write_dataset


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "prepared")
