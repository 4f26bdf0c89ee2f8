"""Runs to report on: made once, read by all tests."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from report_data import recipe, run, write_source

from tasks.report.build import build_report
from tasks.report.inputs import ReportInputs


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder for the tests of one file."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("report")
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def promoted(shop: Path) -> ReportInputs:
    """A good run: three stages, three forms, all gates hold."""
    source = write_source(Path("data/digits"), 260, defects=True)
    return run(recipe(), source=source)


@pytest.fixture(scope="module")
def refused(promoted: ReportInputs) -> ReportInputs:
    """A bad run on the same data: it diverges, and an earlier champion is better."""
    source = "data/digits/rows.jsonl"
    return run(recipe(), source=source, skills=(0.75, 0.6, 0.55), diverged=True, looks=7, earlier=0.9)


@pytest.fixture(scope="module")
def plain(shop: Path) -> ReportInputs:
    """Clean rows, no judge, one stage, nothing quantized, a person decides."""
    source = write_source(Path("data/clean"), 120, defects=False)
    return run(recipe(keep=1, serve="merged", align=False), source=source, forms=(), waiting=True)


@pytest.fixture(scope="module")
def page(shop: Path) -> Callable[[ReportInputs], str]:
    """The report of some inputs."""

    def build(inputs: ReportInputs) -> str:
        path = shop / "out" / "report.html"
        build_report(inputs, path)
        return path.read_text(encoding="utf-8")

    return build
