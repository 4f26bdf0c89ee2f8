"""How well a row's text fits its picture, in the eyes of a CLIP-style model, and where to cut.

    pairs = [(sha, judged_text(record.answer, min_words=3)), ...]
    scores = list(score_pairs(encoder, pairs, open_image))
    cut = cut_of(scores, drop=0.05)          # rows that score below do not fit

A raw cosine says as much about a text's length and style as about its fit, so the score is how far the true picture
stands out among other pictures for this text: (cosine - mean) / standard deviation, both over reference pictures of
the same data. Scores are specific to a model and a data set; a share of the worst is not, so the cut is a percentile.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from tasks.prepare.records import Rejected
from tasks.prepare.rows import Verdicts

if TYPE_CHECKING:
    from tasks.prepare.encoder import DualEncoder, Vectors

log = logging.getLogger(__name__)

REFERENCES = 256
"""Other pictures that a text is held against."""
FEWEST_REFERENCES = 8
"""With fewer different pictures than this a standard deviation means nothing, and no row is judged."""

Score = float | None
"""None: not judged."""
Pair = tuple[str, str]
"""A picture's sha and the text that should fit it."""


def judged_text(answer: str, min_words: int) -> str | None:
    """The text to judge, or None where a CLIP has no view: `yes`, `B`, `42`."""
    return answer if len(answer.split()) >= min_words else None


def score_pairs(
    encoder: "DualEncoder", pairs: Sequence[Pair], open_image: Callable[[str], Image.Image]
) -> Iterator[float]:
    """A score for each pair, in their order; memory does not grow with their number.

    Args:
        encoder: the judge.
        pairs: neighbours that share a picture or a text share its encoding, so sort them.
        open_image: a picture by its sha.
    """
    # the smallest hashes: a random sample that needs no seed and hardly changes when rows are added
    shas = sorted({sha for sha, _ in pairs})[:REFERENCES]
    if len(shas) < FEWEST_REFERENCES:
        log.warning("alignment: only %d different pictures with a text to judge; no row is judged", len(shas))
        return
    references = encoder.images([open_image(sha) for sha in shas])
    with tqdm(total=len(pairs), desc="alignment", unit="row") as bar:
        for at in range(0, len(pairs), encoder.batch_size):
            batch = pairs[at : at + encoder.batch_size]
            images, image_of = _distinct([sha for sha, _ in batch])
            texts, text_of = _distinct([text for _, text in batch])
            seen = encoder.images([open_image(sha) for sha in images])[image_of]
            yield from standardized(seen, encoder.texts(texts)[text_of], references).tolist()
            bar.update(len(batch))


def standardized(images: "Vectors", texts: "Vectors", references: "Vectors") -> NDArray[np.float64]:
    """How far each text's own picture stands out among the references, in standard deviations.

    Args:
        images: (n, width), the texts' own pictures.
        texts: (n, width).
        references: (references, width), other pictures.
    """
    own = (images * texts).sum(axis=1, dtype=np.float64)
    others = texts.astype(np.float64) @ references.T.astype(np.float64)
    return (own - others.mean(axis=1)) / (others.std(axis=1) + 1e-9)


def cut_of(scores: Sequence[Score], drop: float) -> float | None:
    """The score below which rows are dropped, so that at most the worst `drop` share of the judged rows goes.

    None if no row was judged. Rows of equal score stay or go together.
    """
    judged = sorted(score for score in scores if score is not None)
    if not judged:
        return None
    count = math.floor(drop * len(judged))
    return judged[count] if count < len(judged) else math.inf


def find_misaligned(scores: Sequence[Score], cut: float | None) -> Verdicts:
    """Condemn the rows that score below the cut: `misaligned`."""
    return {
        place: Rejected("misaligned", f"alignment {score:.2f} is below the cut at {cut:.2f}")
        for place, score in enumerate(scores)
        if score is not None and cut is not None and score < cut
    }


def _distinct(items: Sequence[str]) -> tuple[list[str], list[int]]:
    """Each item once, and for every item its place among them."""
    places: dict[str, int] = {}
    index = [places.setdefault(item, len(places)) for item in items]
    return list(places), index
