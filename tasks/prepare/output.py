"""Writes what `clean_rows` found as a dataset; `tasks.dataset` says what the files are and reads them again."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tasks.dataset import (
    IMAGE_SCHEMA,
    IMAGES_A_GROUP,
    IMAGES_A_SHARD,
    QUARANTINE_SCHEMA,
    ROW_SCHEMA,
    ROWS_A_SHARD,
    write_shards,
)
from tasks.prepare.card import make_card
from tasks.prepare.pipeline import Result
from tasks.prepare.records import Line
from tasks.prepare.rows import PictureFile, stored_bytes
from tasks.store import write_whole


def write_dataset(folder: Path, lines: Sequence[Line], result: Result, judge: str | None) -> None:
    """Write rows, images, quarantine and card into `folder`; the same result gives the same bytes.

    Args:
        folder: exists and is empty.
        lines: that went in.
        result: what came of them.
        judge: name of the alignment model, for the card.
    """
    write_shards(folder, "rows", ROW_SCHEMA, (row.model_dump() for row in result.rows), ROWS_A_SHARD)
    dropped = (item.model_dump() for item in result.quarantined)
    write_shards(folder, "quarantine", QUARANTINE_SCHEMA, dropped, ROWS_A_SHARD)
    write_shards(folder, "images", IMAGE_SCHEMA, _images(result.pictures), IMAGES_A_SHARD, IMAGES_A_GROUP)
    write_whole(folder / "card.json", make_card(lines, result, judge).model_dump_json(indent=2))


def _images(pictures: Mapping[str, PictureFile]) -> Iterator[dict[str, Any]]:
    for sha in tqdm(sorted(pictures), desc="storing pictures", unit="picture"):
        file = pictures[sha]
        yield {"sha": sha, "data": stored_bytes(file), "width": file.width, "height": file.height}
