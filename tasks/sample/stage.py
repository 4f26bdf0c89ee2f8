"""The stages `sample` and `base`: the embedded default's data, and the model that its retraining starts from.

    sample_digits()          # data/digits/{rows.jsonl, ledger.jsonl, images/, benchmarks/, clip/, base/}

Both are results in the store: data takes seconds, pre-training minutes, and neither is made again unless its sizes or
its code change. What a recipe reads is one folder of hard links to them, published whole.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.locks import exclusive
from tasks.refs import Ref, SampleRef
from tasks.sample.size import RowsSize, SampleSize
from tasks.store import MANIFEST, RUNS, Stage, digest_json, run_stage, write_whole

PICTURES = ("sample/draw", "sample/questions", "sample/scans", "sample/size", "sample/widths")
SAMPLE = Stage("sample", (*PICTURES, "sample/rows", "sample/benchmarks", "sample/defects"), SampleRef)
BASE = Stage(
    "base", (*PICTURES, "sample/pretrain", "sample/clip", "sample/pictures", "sample/llava", "sample/schedule"), Ref
)
MARK = "made.json"
"""In the published folder: which results it shows."""


def sample_digits(folder: Path = Path("data/digits"), size: SampleSize | None = None) -> SampleRef:
    """Make the sample, or what of it is missing, and publish it as `folder`.

    Args:
        folder: where a recipe finds it.
        size: how much of everything; default the demo's.
    """
    size = size or SampleSize()
    rows = run_stage(SAMPLE, inputs={}, section=size.rows, build=lambda place: _make_rows(place, size.rows))
    base = run_stage(
        BASE, inputs={"pool": str(size.rows.seed)}, section=size.base, build=lambda place: _train(place, size)
    )
    ref = SampleRef(path=str(folder), digest=digest_json([rows.digest, base.digest]), rows=rows.rows)
    with exclusive(RUNS / "publish-sample.lock", f"{folder} is being published by another run"):
        mark = folder / MARK
        if not (mark.exists() and json.loads(mark.read_text())["digest"] == ref.digest):
            _publish([rows.folder, base.folder], folder, ref)
    return ref


def _make_rows(folder: Path, size: RowsSize) -> dict[str, Any]:
    import numpy as np

    from tasks.sample.benchmarks import write_mme, write_mmmu, write_textvqa
    from tasks.sample.defects import plant
    from tasks.sample.rows import examples_of
    from tasks.sample.scans import deal

    pools, rng = deal(size.seed), np.random.default_rng(size.seed)
    images = folder / "images"
    images.mkdir()
    counts = {"train": size.train_images, "validation": size.validation_images, "holdout": size.holdout_images}
    good = [
        example
        for split, count in counts.items()
        for example in examples_of(pools[split], split, count, questions=size.questions, folder=images, rng=rng)
    ]
    benchmarks = folder / "benchmarks"
    pictures = [
        *write_mme(pools["mme"], benchmarks / "MME", size.mme_images, rng),
        *write_textvqa(pools["textvqa"], benchmarks / "textvqa", size.textvqa_images, rng),
        *write_mmmu(pools["mmmu"], benchmarks / "MMMU", size.mmmu_questions, rng),
    ]
    lines, ledger = plant(good, pictures, folder=folder, counts=size.defects, rng=rng)
    (folder / "rows.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    entries = "".join(f"{entry.json}\n" for entry in ledger)
    (folder / "ledger.jsonl").write_text(entries, encoding="utf-8")
    return {"rows": len(lines)}


def _train(folder: Path, size: SampleSize) -> dict[str, Any]:
    from tasks.sample.pretrain import pretrain
    from tasks.sample.scans import deal

    pretrain(deal(size.rows.seed)["base"], size.base, folder)
    return {}


def _publish(sources: list[Path], folder: Path, ref: SampleRef) -> None:
    """Make `folder` show the results' files, by hard links where the file system has them, whole or not at all."""
    new, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    for rest in (new, old):  # of a run that was killed
        shutil.rmtree(rest, ignore_errors=True)
    for name, file in _files(sources):
        target = new / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, target)
        except OSError:
            shutil.copy2(file, target)
    write_whole(new / MARK, ref.model_dump_json())
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _files(sources: list[Path]) -> Iterator[tuple[Path, Path]]:
    for source in sources:
        for file in sorted(source.rglob("*")):
            if file.is_file() and file.name != MANIFEST:
                yield file.relative_to(source), file
