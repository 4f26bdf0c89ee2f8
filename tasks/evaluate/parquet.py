"""Reads benchmark tables as the hub stores them: plain columns, and images as structs of `bytes` and `path`.

    for row in read_parquet(files, ["id", "question"], [f"image_{n}" for n in range(1, 8)]):
        row["question"], row["pictures"]

Encoded pictures stay in memory as Arrow columns (the whole of MME: 0.9 GB) and are decoded when they are asked for.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.errors import LavaflowError
from tasks.evaluate.answers import Picture


def read_parquet(files: Sequence[Path], columns: list[str], images: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of some files, in order.

    Args:
        files: Parquet.
        columns: plain columns, all required.
        images: image columns, in the order wanted; null cells and absent columns are left out.

    Yields:
        the plain columns by name, and `pictures`, a tuple of `Picture`.

    Raises:
        LavaflowError: not Parquet, or a required column is missing.
    """
    for file in files:
        try:
            reader = pq.ParquetFile(file)
            names = reader.schema_arrow.names
            if missing := [name for name in columns if name not in names]:
                raise LavaflowError(f"{file}: no column {missing[0]}; found {', '.join(names)}")
            table = reader.read(columns=[*columns, *(name for name in images if name in names)])
        except (pa.ArrowException, OSError) as error:
            raise LavaflowError(f"{file}: cannot be read as Parquet ({error})") from error
        pictures = [table[name] for name in images if name in names]
        for number, row in enumerate(table.select(columns).to_pylist()):
            cells = [column[number] for column in pictures if column[number].is_valid]
            yield {**row, "pictures": tuple(Picture(f"{file} row {number}", partial(_bytes, cell)) for cell in cells)}


def _bytes(cell: pa.StructScalar) -> bytes:
    data = cell["bytes"].as_py() if isinstance(cell, pa.StructScalar) else cell.as_py()
    if not isinstance(data, bytes):
        raise OSError("the table holds a path in place of the image's bytes")
    return data
