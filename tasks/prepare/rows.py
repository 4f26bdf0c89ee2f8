"""What goes through the steps of `prepare`: a row that has been read, with the picture it names.

Every step is a plain function from candidates to verdicts (place -> `Rejected`); the pipeline takes the condemned out
and goes on with the rest. A picture's pixels are not held: they are read again from its file when they are needed, so
memory does not grow with them.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import LavaflowError
from tasks.prepare.fingerprints import Fingerprint, fingerprint
from tasks.prepare.images import Picture, decode, open_picture
from tasks.prepare.records import Record, Rejected
from tasks.recipe import Images

Verdicts = dict[int, Rejected]
"""Which candidates a step drops, by their place, and why."""


@dataclass(frozen=True)
class PictureFile:
    """A picture fit for training: where it lies and what is known of it."""

    path: Path
    sha: str
    """SHA-256 (hex) of the bytes to store; the picture's key in the dataset."""
    width: int
    height: int
    print: Fingerprint


@dataclass(frozen=True)
class Candidate:
    """A row whose text and picture have been read and are fit for use."""

    record: Record
    picture: PictureFile


def examine(path: Path, limits: Images) -> PictureFile:
    """Open a picture and note what later steps ask about it.

    Raises:
        Rejected: it is not fit for training; see `tasks.prepare.images.open_picture`.
    """
    picture = open_picture(path, limits)
    width, height = picture.image.size
    return PictureFile(path, picture.sha, width, height, fingerprint(picture.image))


def reopen(file: PictureFile) -> Picture:
    """The picture of a file that was examined before.

    Raises:
        LavaflowError: the file has changed or gone since.
    """
    try:
        data = file.path.read_bytes()
        picture = decode(data, file.path.name, max_pixels=file.width * file.height)
    except (OSError, Rejected):
        picture = None
    if picture is None or picture.sha != file.sha:
        raise LavaflowError(f"{file.path}: changed while the data was being prepared; run again when it is at rest")
    return picture


def stored_bytes(file: PictureFile) -> bytes:
    """The bytes to store, without decoding where the file itself is stored.

    Raises:
        LavaflowError: the file has changed or gone since it was examined.
    """
    data = file.path.read_bytes() if file.path.exists() else b""
    return data if hashlib.sha256(data).hexdigest() == file.sha else reopen(file).data


def pictures_of(candidates: Sequence[Candidate]) -> list[PictureFile]:
    """Each picture once, in the order of the rows."""
    return list({candidate.picture.sha: candidate.picture for candidate in candidates}.values())
