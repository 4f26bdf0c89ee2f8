"""One model, one dataset and both exports for all quantization tests: the exports take some seconds each."""

import logging
import os
from pathlib import Path

import pytest
from quantize_data import Export, recipe, write_dataset

from tasks.quantize.job import Method
from tasks.quantize.stage import quantize
from tasks.refs import DatasetRef, ModelRef
from tasks.sample.llava import LlavaSize, random_llava
from tasks.store import digest_tree

SIZE = LlavaSize(vision_width=32, vision_layers=2, text_width=256, text_layers=1)
"""One layer as wide as the demo's: narrower ones spend more on group indices than 0.30 allows."""


@pytest.fixture(scope="session")
def merged(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    folder = tmp_path_factory.mktemp("merged") / "model"
    random_llava(folder, size=SIZE)
    return ModelRef(path=str(folder), digest=digest_tree(folder), form="merged", bytes=1)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> DatasetRef:
    folder = write_dataset(tmp_path_factory.mktemp("data") / "prepared")
    return DatasetRef(path=str(folder), digest=digest_tree(folder), rows=46, splits={"train": 40}, reasons={})


@pytest.fixture(scope="session")
def quantize_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working folder in which the exports were made."""
    return tmp_path_factory.mktemp("workspace")


def _export(method: Method, merged: ModelRef, data: DatasetRef, workspace: Path) -> Export:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    log, before = logging.getLogger("tasks.quantize"), Path.cwd()
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    os.chdir(workspace)
    try:
        ref = quantize(method, merged, data, recipe(engine="autoawq"))
    finally:
        os.chdir(before)
        log.removeHandler(handler)
        log.setLevel(logging.NOTSET)
    return Export(method, ref, workspace / ref.path, "\n".join(lines))


@pytest.fixture(scope="session")
def gptq(merged: ModelRef, data: DatasetRef, quantize_workspace: Path) -> Export:
    return _export("gptq", merged, data, quantize_workspace)


@pytest.fixture(scope="session")
def awq(merged: ModelRef, data: DatasetRef, quantize_workspace: Path) -> Export:
    return _export("awq", merged, data, quantize_workspace)


@pytest.fixture(params=["gptq", "awq"])
def export(request: pytest.FixtureRequest) -> Export:
    """Each of the two in turn."""
    found: Export = request.getfixturevalue(request.param)
    return found
