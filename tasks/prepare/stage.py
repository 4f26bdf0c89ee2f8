"""The stage `prepare`: from the recipe's JSONL files to a clean dataset (see `tasks.dataset` for its files).

    dataset = prepare(recipe)

Unchanged sources, pictures, benchmarks, judge and settings give the finished dataset back without decoding a picture
or importing torch. Alignment scores are a result of their own, so moving the cut scores nothing again.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tqdm import tqdm

from tasks.errors import LavaflowError
from tasks.hub import find_model
from tasks.prepare.align import Pair, Score, judged_text, score_pairs
from tasks.prepare.contamination import benchmark_files, benchmark_prints
from tasks.prepare.output import write_dataset
from tasks.prepare.pipeline import Result, Scorer, clean_rows
from tasks.prepare.rows import Candidate, reopen
from tasks.prepare.sources import files_digest, folder_of, read_source, source_digest
from tasks.recipe import Alignment, Recipe
from tasks.refs import DatasetRef, Ref
from tasks.store import Stage, digest_json, run_stage

log = logging.getLogger(__name__)

PREPARE = Stage("prepare", ("prepare", "dataset"), DatasetRef)
SCORES = Stage("alignment-scores", ("prepare/align", "prepare/encoder", "prepare/images"), Ref)
SCORE_SCHEMA = pa.schema([("image", pa.string()), ("text", pa.string()), ("score", pa.float64())])


def prepare(recipe: Recipe) -> DatasetRef:
    """Clean, decontaminate, deduplicate, split and align the recipe's data.

    Returns:
        The dataset; its `rows` are the lines read, kept and quarantined together.

    Raises:
        LavaflowError: a source, all pictures of a source, a benchmark or the judge is missing; or no row is left.
    """
    config = recipe.prepare
    sources = {source: read_source(source) for source in config.sources}
    benchmarks = {name: (path, benchmark_files(path)) for name, path in _benchmark_paths(recipe).items()}
    inputs = {source: source_digest(source, lines) for source, lines in sources.items()}
    inputs |= {f"benchmark {name}": files_digest(files, path) for name, (path, files) in benchmarks.items()}
    judge = find_model(config.alignment.model, key="prepare.alignment.model") if config.alignment else None
    if judge:
        inputs["judge"] = judge.digest

    def build(folder: Path) -> Mapping[str, Any]:
        prints = {
            name: list(benchmark_prints(tqdm(files, desc=f"pictures of {name}", unit="file")))
            for name, (_, files) in benchmarks.items()
        }
        lines = [line for source in sources.values() for line in source]
        folders = {source: folder_of(source) for source in sources}
        score = _scorer(config.alignment, judge, recipe.model.device) if config.alignment and judge else None
        result = clean_rows(lines, folders, config, prints, score)
        write_dataset(folder, lines, result, config.alignment.model if config.alignment else None)
        return _counts(len(lines), result)

    section = config.model_dump(mode="json", exclude={"alignment": {"batch_size"}})
    return run_stage(PREPARE, inputs=inputs, section=section, build=build)


def _benchmark_paths(recipe: Recipe) -> dict[str, Path]:
    named = {"mme": recipe.evaluate.mme, "textvqa": recipe.evaluate.textvqa, "mmmu": recipe.evaluate.mmmu}
    return {name: Path(benchmark.path) for name, benchmark in named.items() if benchmark}


def _counts(lines: int, result: Result) -> dict[str, Any]:
    reasons = dict(Counter(item.reason for item in result.quarantined).most_common())
    said = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    log.info(
        "prepare: %d rows in, %d kept, %d quarantined%s",
        *(lines, len(result.rows), sum(reasons.values()), f" ({said})" if said else ""),
    )
    if len(result.rows) + len(result.quarantined) != lines:
        raise AssertionError(f"{lines} rows in, {len(result.rows)} kept, {len(result.quarantined)} quarantined")
    if not result.rows:
        first = {item.reason: item for item in reversed(result.quarantined)}
        shown = [f"{item.source}:{item.line}: {reason}: {item.detail}" for reason, item in first.items()]
        raise LavaflowError("\n".join([f"prepare: not one of {lines} rows is fit for use: {said}", *shown[:5]]))
    splits = dict(sorted(Counter(row.split for row in result.rows).items()))
    return {"rows": lines, "splits": splits, "reasons": reasons}


def _scorer(config: Alignment, judge: Ref, device: str) -> Scorer:
    def score(candidates: Sequence[Candidate]) -> list[Score]:
        texts = [judged_text(one.record.answer, config.min_words) for one in candidates]
        pairs = [(one.picture.sha, text) for one, text in zip(candidates, texts, strict=True)]
        files = {one.picture.sha: one.picture for one in candidates}
        judged = sorted({(sha, text) for sha, text in pairs if text is not None})
        scores = _scores(config, judge, device, judged, lambda sha: reopen(files[sha]).image)
        return [None if text is None else scores.get((sha, text)) for sha, text in pairs]

    return score


def _scores(
    config: Alignment, judge: Ref, device: str, pairs: Sequence[Pair], open_image: Callable[[str], Image.Image]
) -> dict[Pair, float]:
    """Each pair's score; from the store if these pairs were judged before, wherever the cut was."""

    def build(folder: Path) -> Mapping[str, Any]:
        from tasks.models import pick_device
        from tasks.prepare.encoder import DualEncoder

        encoder = DualEncoder(judge.folder, pick_device(device), config.batch_size)
        scores = score_pairs(encoder, pairs, open_image)
        items = [
            {"image": sha, "text": text, "score": score} for (sha, text), score in zip(pairs, scores, strict=False)
        ]
        pq.write_table(pa.Table.from_pylist(items, schema=SCORE_SCHEMA), folder / "scores.parquet")
        return {}

    inputs = {"pairs": digest_json(pairs), "judge": judge.digest}
    ref = run_stage(SCORES, inputs=inputs, section={"scorer": config.scorer}, build=build)
    found = pq.ParquetFile(ref.folder / "scores.parquet").read().to_pylist()
    return {(item["image"], item["text"]): item["score"] for item in found}
