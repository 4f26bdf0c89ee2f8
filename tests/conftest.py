"""What all rooms' tests share: a folder of one's own to work in, and a small random LLaVA."""

from pathlib import Path

import pytest


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; every path of lavaflow is relative to it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def tiny_llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA of 170,000 random weights: true to the architecture, without skill."""
    from tasks.sample.llava import random_llava

    folder = tmp_path_factory.mktemp("tiny") / "llava"
    random_llava(folder)
    return folder
