"""Pictures of the data that are in a benchmark: training on them would make the benchmark's score a lie.

    prints = {"mme": benchmark_prints(benchmark_files(Path("data/MME")))}
    verdicts = find_contaminated(candidates, prints, hamming=4, color=12)

Finds pictures in any of the official layouts (folders of files, Parquet with image columns) without knowing them. One
exception: TextVQA's folder holds its training pictures too, and only those that its validation JSON asks about count.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tasks.errors import LavaflowError
from tasks.prepare.fingerprints import Fingerprint, fingerprint, near_pairs
from tasks.prepare.images import decode
from tasks.prepare.records import Rejected
from tasks.prepare.rows import Candidate, Verdicts, pictures_of

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
MAX_PIXELS = 150_000_000
"""Benchmarks are the user's own choice; this only stops bombs."""


def benchmark_files(path: Path) -> list[Path]:
    """The files that hold a benchmark's pictures, sorted.

    Raises:
        LavaflowError: none there.
    """
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES | {".parquet"})
    if asked := _asked_about(path):
        files = [file for file in files if file.stem in asked or file.suffix == ".parquet"]
    if not files:
        raise LavaflowError(
            f"{path}: no pictures of a benchmark there; put it in its official layout, or name its folder"
        )
    return files


def _asked_about(path: Path) -> set[str]:
    """Ids of the pictures that TextVQA's validation questions name; empty for other benchmarks."""
    return {str(item["image_id"]) for file in path.rglob("TextVQA_*_val.json") for item in _questions(file)}


def _questions(file: Path) -> list[dict[str, Any]]:
    try:
        return json.loads(file.read_bytes())["data"]
    except (ValueError, KeyError, TypeError) as error:
        raise LavaflowError(f"{file}: not TextVQA's question file ({error}); fetch it again") from None


def benchmark_prints(files: Iterable[Path]) -> Iterator[Fingerprint]:
    """Fingerprints of all pictures in the files; a picture that cannot be read can contaminate nothing."""
    for file in files:
        for data in _parquet_pictures(file) if file.suffix == ".parquet" else [file.read_bytes()]:
            try:
                yield fingerprint(decode(data, file.name, MAX_PIXELS).image)
            except Rejected:
                continue


def _parquet_pictures(file: Path) -> Iterator[bytes]:
    """Bytes in image columns: structs with a field `bytes`, as the `datasets` library writes them, or binary."""
    for batch in pq.ParquetFile(file).iter_batches(batch_size=32):
        for item in batch.to_pylist():
            yield from filter(None, map(_bytes, item.values()))


def _bytes(value: Any) -> bytes | None:
    found = value.get("bytes") if isinstance(value, dict) else value
    return found if isinstance(found, bytes) else None


def find_contaminated(
    candidates: Sequence[Candidate], prints: Mapping[str, Sequence[Fingerprint]], hamming: int, color: float
) -> Verdicts:
    """Condemn rows whose picture is in a benchmark, pixel by pixel or as a near copy: `in_benchmark`.

    Args:
        candidates: the rows.
        prints: benchmark's name -> fingerprints of its pictures.
        hamming: as in `near_pairs`.
        color: as in `near_pairs`.
    """
    pictures = pictures_of(candidates)
    found: dict[str, str] = {}
    for name, theirs in prints.items():
        known = {item.pixels for item in theirs}
        found |= {p.sha: f"the same picture is in {name}" for p in pictures if p.print.pixels in known}
        pairs = near_pairs([*(picture.print for picture in pictures), *theirs], hamming, color)
        ours = pairs[(pairs[:, 0] < len(pictures)) & (pairs[:, 1] >= len(pictures)), 0]
        for place in ours.tolist():
            found.setdefault(pictures[place].sha, f"a near copy of the picture is in {name}")
    return {
        place: Rejected("in_benchmark", found[candidate.picture.sha])
        for place, candidate in enumerate(candidates)
        if candidate.picture.sha in found
    }
