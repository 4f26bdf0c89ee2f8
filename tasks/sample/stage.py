"""The stages `sample` and `base`: the embedded default's data, and the model that its retraining starts from.

    sample_digits()          # data/digits/{rows.jsonl, ledger.jsonl, images/, benchmarks/, clip/, base/}

Both are results in the store: data takes seconds, pre-training minutes, and neither is made again unless its sizes or
its code change. What a recipe reads is one folder of hard links to them, published whole.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tasks.errors import LavaflowError
from tasks.locks import exclusive
from tasks.refs import Ref, SampleRef
from tasks.sample.size import RowsSize, SampleSize
from tasks.store import MANIFEST, RUNS, Stage, code_digest, digest_file, digest_json, run_stage, write_whole

DIGITS = Path("data/digits")
PICTURES = ("sample/scans", "sample/draw", "sample/questions")
SAMPLE = Stage("sample", (*PICTURES, "sample/rows", "sample/benchmarks", "sample/defects"), SampleRef)
BASE = Stage(
    "base",
    (*PICTURES, "sample/pictures", "sample/llava", "sample/clip", "sample/descent", "sample/pretrain", "models"),
    Ref,
)
ROWS, LEDGER = "rows.jsonl", "ledger.jsonl"
COPIED = (ROWS, LEDGER)
"""Files that people edit in place; through a hard link that would change the store's result too."""
MARK = "made.json"


class Made(BaseModel):
    """What a published folder holds; lies in it as `made.json`."""

    by: str
    """Hash of the sizes and the code that made it."""
    rows: str
    """SHA-256 of its rows.jsonl."""
    ref: SampleRef


def sample_digits(folder: Path = DIGITS, size: SampleSize | None = None) -> SampleRef:
    """Make the sample, or what of it is missing, and publish it as `folder`; nothing happens if it is there.

    Args:
        folder: where a recipe finds it.
        size: how much of everything; default the demo's.

    Raises:
        LavaflowError: the folder holds an older sample whose rows were edited, or another run is at it.
    """
    size = size or SampleSize()
    by = digest_json([size.model_dump(mode="json"), code_digest(SAMPLE.code), code_digest(BASE.code)])
    made = _made(folder)
    if made is None or made.by != by:
        with exclusive(RUNS / "publish-sample.lock", f"{folder} is being made by another run"):
            made = _make(folder, size, by)
    return made.ref


def _make(folder: Path, size: SampleSize, by: str) -> Made:
    before = _made(folder)
    if folder.exists() and (before is None or digest_file(folder / ROWS) != before.rows):
        raise LavaflowError(f"{folder} is no sample as lavaflow made it, and would be replaced; rename or delete it")
    rows = run_stage(SAMPLE, inputs={}, section=size.rows, build=lambda place: make_rows(place, size.rows))
    deal = {"deal": str(size.rows.seed)}  # which scans are the base's
    base = run_stage(BASE, inputs=deal, section=size.base, build=lambda place: _make_base(place, size))
    ref = SampleRef(path=str(folder), digest=digest_json([rows.digest, base.digest]), rows=rows.rows)
    made = Made(by=by, rows=digest_file(rows.folder / ROWS), ref=ref)
    _publish([rows.folder, base.folder], folder, made)
    return made


def _made(folder: Path) -> Made | None:
    mark = folder / MARK
    return Made.model_validate_json(mark.read_bytes()) if mark.exists() else None


def make_rows(folder: Path, size: RowsSize) -> dict[str, Any]:
    """Write rows, ledger, pictures and benchmarks; returns the number of lines."""
    import numpy as np

    from tasks.sample.benchmarks import write_mme, write_mmmu, write_textvqa
    from tasks.sample.defects import plant
    from tasks.sample.rows import examples_of
    from tasks.sample.scans import deal

    pools, rng = deal(size.seed), np.random.default_rng(size.seed)
    images, benchmarks = folder / "images", folder / "benchmarks"
    images.mkdir()
    counts = {"train": size.train_images, "validation": size.validation_images, "holdout": size.holdout_images}
    good = [
        example
        for split, count in counts.items()
        for example in examples_of(pools[split], split, count, questions=size.questions, folder=images, rng=rng)
    ]
    pictures = [
        *write_mme(pools["mme"], benchmarks / "MME", size.mme_images, rng),
        *write_textvqa(pools["textvqa"], benchmarks / "textvqa", size.textvqa_images, rng),
        *write_mmmu(pools["mmmu"], benchmarks / "MMMU", size.mmmu_questions, rng),
    ]
    lines, ledger = plant(good, pictures, folder=folder, counts=size.defects, rng=rng)
    (folder / ROWS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (folder / LEDGER).write_text("".join(f"{entry.json}\n" for entry in ledger), encoding="utf-8")
    return {"rows": len(lines)}


def _make_base(folder: Path, size: SampleSize) -> dict[str, Any]:
    from tasks.sample.pretrain import pretrain
    from tasks.sample.scans import deal

    pretrain(deal(size.rows.seed)["base"], size.base, folder)
    return {}


def _publish(sources: list[Path], folder: Path, made: Made) -> None:
    """Make `folder` show the results' files, by hard links where the file system has them, whole or not at all."""
    new, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    for rest in (new, old):  # of a run that was killed
        shutil.rmtree(rest, ignore_errors=True)
    for name, file in _files(sources):
        target = new / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.name in COPIED:
            shutil.copy2(file, target)
        else:
            _link(file, target)
    write_whole(new / MARK, made.model_dump_json())
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:
        shutil.copy2(file, target)


def _files(sources: list[Path]) -> Iterator[tuple[Path, Path]]:
    for source in sources:
        for file in sorted(source.rglob("*")):
            if file.is_file() and file.name != MANIFEST:
                yield file.relative_to(source), file
