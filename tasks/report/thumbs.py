"""Small copies of the dataset's pictures as data URIs, so that the report stays one file.

thumbs = Thumbs(Dataset(ref.folder))
thumbs.uri(sha)             # data:image/png;base64,... or None
"""

import base64
import io
from dataclasses import dataclass, field

from PIL import Image

from tasks.dataset import Dataset

SIDE = 96
"""Pixels of the longer side; smaller pictures stay as they are."""
BUDGET = 2_500_000
"""Characters of all data URIs of a report together; what comes after them goes without a picture."""


@dataclass
class Thumbs:
    """Makes thumbnails, each picture once, within the budget."""

    data: Dataset
    left: int = BUDGET
    made: dict[str, str | None] = field(default_factory=dict)

    def uri(self, sha: str | None) -> str | None:
        """The thumbnail of a stored picture; None if there is no such picture or no room for it."""
        if sha is None:
            return None
        if sha not in self.made:
            made = self._make(sha)
            fits = made is not None and len(made) <= self.left
            self.left -= len(made) if made and fits else 0
            self.made[sha] = made if fits else None
        return self.made[sha]

    def _make(self, sha: str) -> str | None:
        try:
            image = self.data.image(sha)
        except (KeyError, OSError):  # quarantined for its picture, perhaps
            return None
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        kind, encoded = min(
            (("png", _encode(image, "PNG")), ("jpeg", _encode(image, "JPEG"))), key=lambda one: len(one[1])
        )
        return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"


def _encode(image: Image.Image, form: str) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **({"quality": 80} if form == "JPEG" else {"optimize": True}))
    return file.getvalue()
