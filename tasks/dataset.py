"""A prepared dataset on disk: what `prepare` writes and what training, evaluation and calibration read.

    rows-*.parquet        one kept row each: see `Row`
    images-*.parquet      sha (of the stored bytes), data, width, height; sorted by sha; apart from the rows
    quarantine-*.parquet  one dropped row each: see `Quarantined`
    card.json             counts and histograms: see `tasks/prepare/card.py`

    data = Dataset(Path("runs/prepare/ab12"))
    for row in data.rows("train"):
        picture = data.image(row.images[0])

Parquet shards, because DVC and object stores are slow with many small files.
"""

import io
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image
from pydantic import BaseModel, ConfigDict

IMAGE = "<image>"
"""Marks an image's place in a message; as many as the row has images, in their order."""
SPLITS = ("train", "validation", "holdout")
ROWS_A_SHARD = 50_000
IMAGES_A_SHARD = 10_000
IMAGES_A_GROUP = 32


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(frozen=True)

    role: str
    """`system`, `user` or `assistant`."""
    content: str
    """Text, with `<image>` where a picture stands."""


class Row(BaseModel):
    """One clean example."""

    model_config = ConfigDict(frozen=True)

    id: str
    """First 16 hex digits of the SHA-256 of the row's images and messages: the same row, the same id, anywhere."""
    images: list[str]
    """SHA-256 (hex) of each picture's stored bytes."""
    messages: list[Message]
    split: str
    group: str
    """Rows of near copies of a picture share a group, and groups never straddle splits."""
    kind: str
    """What sort of question it is, for scores by kind; `other` if the source does not say."""
    source: str
    """File the row came from."""
    line: int
    """Its line there, from 1."""
    alignment: float | None = None
    """Score of the alignment filter; None if it had no view on the row."""


class Quarantined(BaseModel):
    """One row that was dropped, with the reason and enough to restore it."""

    model_config = ConfigDict(frozen=True)

    source: str
    line: int
    reason: str
    """Name of the rule that dropped it."""
    detail: str
    """What the rule saw, in words."""
    original: str
    """The source line as it was."""
    image: str | None = None
    """SHA-256 of its first picture if that could be stored."""
    alignment: float | None = None


_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
ROW_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("images", pa.list_(pa.string())),
        ("messages", _MESSAGES),
        ("split", pa.string()),
        ("group", pa.string()),
        ("kind", pa.string()),
        ("source", pa.string()),
        ("line", pa.int64()),
        ("alignment", pa.float64()),
    ]
)
QUARANTINE_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("line", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("original", pa.string()),
        ("image", pa.string()),
        ("alignment", pa.float64()),
    ]
)
IMAGE_SCHEMA = pa.schema([("sha", pa.string()), ("data", pa.binary()), ("width", pa.int32()), ("height", pa.int32())])


def write_shards(
    folder: Path,
    name: str,
    schema: pa.Schema,
    items: Iterable[dict[str, Any]],
    a_shard: int,
    a_group: int | None = None,
) -> None:
    """Write `<name>-00000.parquet` and so on; the same items give the same bytes. At least one shard is written.

    Args:
        folder: where.
        name: `rows`, `images` or `quarantine`.
        schema: of the table.
        items: one dict a table row.
        a_shard: table rows a file.
        a_group: table rows a Parquet row group (what is read at once); default the whole shard.
    """
    number = 0
    for batch in _batches(items, a_shard):
        table = pa.Table.from_pylist(batch, schema=schema)
        pq.write_table(table, folder / f"{name}-{number:05d}.parquet", row_group_size=a_group or a_shard)
        number += 1
    if number == 0:
        pq.write_table(schema.empty_table(), folder / f"{name}-00000.parquet")


def _batches(items: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


class Dataset:
    """Reads a prepared dataset. Rows are held in memory; pictures are read a row group at a time and cached."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def all_rows(self) -> list[Row]:
        """Every kept row, in the order of the sources."""
        return [Row.model_validate(item) for item in self._items("rows")]

    def rows(self, split: str) -> list[Row]:
        """The kept rows of one split, in the order of the sources."""
        return [Row.model_validate(item) for item in self._items("rows", split)]

    def quarantined(self) -> Iterator[Quarantined]:
        """The dropped rows, in the order of the sources."""
        return (Quarantined.model_validate(item) for item in self._items("quarantine"))

    def image_bytes(self, sha: str) -> bytes:
        """The stored file of a picture.

        Raises:
            KeyError: no such picture in this dataset.
        """
        shard, group, place = self._index[sha]
        return self._group(shard, group)[place]

    def image(self, sha: str) -> Image.Image:
        """A picture, decoded, RGB."""
        return Image.open(io.BytesIO(self.image_bytes(sha))).convert("RGB")

    def image_size(self, sha: str) -> tuple[int, int]:
        """Width and height in pixels, without decoding."""
        return self._sizes[sha]

    @cached_property
    def _index(self) -> dict[str, tuple[int, int, int]]:
        """sha -> shard, row group, place in the row group."""
        index = {}
        for shard, file in enumerate(self._files("images")):
            reader = pq.ParquetFile(file)
            for group in range(reader.num_row_groups):
                for place, sha in enumerate(reader.read_row_group(group, columns=["sha"])["sha"].to_pylist()):
                    index[sha] = (shard, group, place)
        return index

    @cached_property
    def _sizes(self) -> dict[str, tuple[int, int]]:
        sizes = {}
        for file in self._files("images"):
            for item in pq.ParquetFile(file).read(columns=["sha", "width", "height"]).to_pylist():
                sizes[item["sha"]] = (item["width"], item["height"])
        return sizes

    @cached_property
    def _group(self) -> Any:
        readers = [pq.ParquetFile(file) for file in self._files("images")]

        @lru_cache(maxsize=256)
        def read(shard: int, group: int) -> list[bytes]:
            return readers[shard].read_row_group(group, columns=["data"])["data"].to_pylist()

        return read

    def _files(self, name: str) -> list[Path]:
        return sorted(self.folder.glob(f"{name}-*.parquet"))

    def _items(self, name: str, split: str | None = None) -> Iterator[dict[str, Any]]:
        for file in self._files(name):
            for batch in pq.ParquetFile(file).iter_batches():
                wanted = batch if split is None else batch.filter(pc.equal(batch["split"], split))
                yield from wanted.to_pylist()
