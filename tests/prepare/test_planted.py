"""Defects planted in the sample's rows, with a ledger of where: all are found, and no good row is lost."""

import json
from collections import Counter

import numpy as np
import pytest
from prepare_data import write_rows

from tasks.dataset import Dataset
from tasks.prepare.stage import prepare
from tasks.recipe import Recipe
from tasks.sample.benchmarks import write_mme, write_mmmu, write_textvqa
from tasks.sample.defects import plant
from tasks.sample.rows import examples_of
from tasks.sample.scans import deal
from tasks.sample.size import Defects

REASONS = {
    "truncated": "broken_image",
    "not_an_image": "not_an_image",
    "missing": "missing_image",
    "bad_json": "bad_json",
    "exact_duplicate": "duplicate",
    "near_duplicate": "near_duplicate",
    "contaminated": "in_benchmark",
}
"""The ledger's name of a defect, and the reason for which it must be dropped."""
COUNTS = Defects(
    truncated=10,
    not_an_image=10,
    missing=10,
    bad_json=10,
    exact_duplicates=30,
    near_duplicates=60,
    contaminated=20,
)


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[int, str], dict[int, str]]:
    """Rows in, the ledger (line -> defect), and what prepare made of each line (line -> reason, empty if kept)."""
    folder = tmp_path_factory.mktemp("planted")
    pools, rng = deal(17), np.random.default_rng(1)
    (folder / "images").mkdir()
    good = [
        example
        for split, images in (("train", 300), ("validation", 10), ("holdout", 40))
        for example in examples_of(pools[split], split, images, questions=3, folder=folder / "images", rng=rng)
    ]
    bench = folder / "benchmarks"
    pictures = [
        *write_mme(pools["mme"], bench / "MME", 4, rng),
        *write_textvqa(pools["textvqa"], bench / "textvqa", 15, rng),
        *write_mmmu(pools["mmmu"], bench / "MMMU", 10, rng),
    ]
    lines, ledger = plant(good, pictures, folder=folder, counts=COUNTS, rng=rng)
    write_rows(folder / "rows.jsonl", lines)
    recipe = Recipe.model_validate(
        {
            "model": {"base": "none"},
            "prepare": {"sources": [str(folder / "rows.jsonl")]},
            "train": {"stages": [{"name": "s", "projector": {"train": "full", "lr": 1}, "until": {"steps": 1}}]},
            "evaluate": {name.lower(): {"path": str(bench / name)} for name in ("MME", "textvqa", "MMMU")},
            "promote": {"model_name": "m"},
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        data = Dataset(prepare(recipe).folder.resolve())
    found = {row.line: "" for row in data.all_rows} | {item.line: item.reason for item in data.quarantined()}
    assert all(row.split == json.loads(lines[row.line - 1])["split"] for row in data.all_rows)
    return len(lines), {entry.line: entry.defect for entry in ledger}, found


def test_rows_in_are_rows_kept_and_quarantined(verdicts: tuple[int, dict[int, str], dict[int, str]]):
    lines, _, found = verdicts
    assert sorted(found) == list(range(1, lines + 1))


@pytest.mark.parametrize("defect", [defect for defect in REASONS if defect != "near_duplicate"])
def test_every_planted_defect_is_found(verdicts: tuple[int, dict[int, str], dict[int, str]], defect: str):
    _, ledger, found = verdicts
    planted = [line for line, name in ledger.items() if name == defect]
    assert len(planted) >= 10
    assert Counter(found[line] for line in planted) == {REASONS[defect]: len(planted)}


def test_near_duplicates_are_found_and_good_rows_are_kept(verdicts: tuple[int, dict[int, str], dict[int, str]]):
    _, ledger, found = verdicts
    near = [found[line] for line, name in ledger.items() if name == "near_duplicate"]
    good = [found[line] for line in found if line not in ledger]
    assert near.count("near_duplicate") >= 0.95 * len(near) > 50
    assert len(good) > 1000
    assert sum(bool(reason) for reason in good) <= 0.01 * len(good)
