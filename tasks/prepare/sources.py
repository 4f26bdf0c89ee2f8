"""The JSONL files that a recipe names: their lines, and a digest over them and the pictures they refer to.

lines = read_source("data/shop/rows.jsonl")
digest = source_digest("data/shop/rows.jsonl", lines)     # changes when a row or a picture does
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from tasks.errors import LavaflowError
from tasks.prepare.images import locate
from tasks.prepare.records import Line, Rejected, parse, read_lines
from tasks.store import digest_file, digest_json


def folder_of(source: str) -> Path:
    """The folder that a source's image paths are relative to and may not leave, resolved."""
    return Path(source).parent.resolve()


def read_source(source: str) -> list[Line]:
    """The lines of one source.

    Raises:
        LavaflowError: no such file, or no rows in it.
    """
    path = Path(source)
    if "://" in source:
        raise LavaflowError(f"prepare.sources: {source} is an address; copy the file and its images here first")
    if not path.is_file():
        raise LavaflowError(f"prepare.sources: {source} is not there; paths are relative to the folder you run in")
    lines = list(read_lines(path, source))
    if not lines:
        raise LavaflowError(f"prepare.sources: {source} holds no rows")
    return lines


def source_digest(source: str, lines: Sequence[Line]) -> str:
    """SHA-256 (hex) over the source's lines and the content of the pictures they name.

    Raises:
        LavaflowError: rows name pictures, and not one of them is there.
    """
    root = folder_of(source)
    files, missing = [], []
    for name in sorted(_names(lines)):
        try:
            files.append(locate(root, name))
        except Rejected as verdict:
            missing.append(verdict.detail)
    if missing and not files:
        raise LavaflowError(
            f"{source}: not one picture of its rows can be found ({missing[0]}); "
            f"put them below {Path(source).parent}/, the folder of the JSONL file"
        )
    return digest_json([[line.text for line in lines], files_digest(files, root)])


def _names(lines: Sequence[Line]) -> set[str]:
    """The pictures that rows name, as they name them."""
    names = set()
    for line in lines:
        with suppress(Rejected):  # a line that cannot be read names none
            names.add(parse(line).image)
    return names


def files_digest(files: Iterable[Path], root: Path) -> str:
    """SHA-256 (hex) over files' content and their names below `root`."""
    return digest_json(sorted([file.relative_to(root).as_posix(), digest_file(file)] for file in set(files)))
