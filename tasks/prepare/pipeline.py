"""The steps of `prepare` in their order, from lines to kept and dropped rows; nothing here knows of stages or stores.

    result = clean_rows(lines, folders, recipe.prepare, benchmarks, score)

    read            parse the line, open its picture, check its text      reasons of records, images and clean
    decontaminate   pictures that are in a benchmark                      in_benchmark
    deduplicate     nearly the same picture with the same text            duplicate, near_duplicate
    split           groups of near copies go to one split                 straddles_split
    align           the text does not fit the picture                     misaligned

Every line that goes in comes out once: kept, or dropped for one reason.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

from tqdm import tqdm

from tasks.dataset import Quarantined, Row
from tasks.prepare.align import Score, cut_of, find_misaligned
from tasks.prepare.clean import check_text
from tasks.prepare.contamination import find_contaminated
from tasks.prepare.duplicates import Copies, find_duplicates
from tasks.prepare.fingerprints import Fingerprint
from tasks.prepare.images import locate
from tasks.prepare.records import Line, Rejected, parse
from tasks.prepare.rows import Candidate, PictureFile, Verdicts, examine, pictures_of
from tasks.prepare.split import Place, deal
from tasks.recipe import Duplicates, Images, Prepare
from tasks.store import digest_json

Scorer = Callable[[Sequence[Candidate]], list[Score]]
"""Rows -> their alignment scores."""


@dataclass
class Result:
    """What came of the lines; rows and quarantined in the lines' order."""

    rows: list[Row]
    quarantined: list[Quarantined]
    pictures: dict[str, PictureFile]
    """sha -> the file; of kept and dropped rows alike, so that a dropped row can be looked at and restored."""
    cut: float | None
    """Alignment score below which rows were dropped; None if there was no judge."""


def clean_rows(
    lines: Sequence[Line],
    folders: Mapping[str, Path],
    config: Prepare,
    benchmarks: Mapping[str, Sequence[Fingerprint]],
    score: Scorer | None,
) -> Result:
    """Sort lines into rows that are kept and rows that are dropped.

    Args:
        lines: of all sources, in order.
        folders: source -> the folder that its image paths are relative to.
        config: the recipe's section.
        benchmarks: name -> fingerprints of the pictures that must not be trained on.
        score: the alignment judge; None keeps every pair.
    """
    candidates, dropped = read(lines, folders, config.images)
    pictures = {picture.sha: picture for picture in pictures_of(candidates)}

    def drop(verdicts: Verdicts, scores: Sequence[Score] | None = None) -> list[bool]:
        """Quarantine the condemned candidates; True for each that stays."""
        for place, verdict in verdicts.items():
            one = candidates[place]
            dropped.append(_quarantined(one.record.line, verdict, one.picture.sha, scores[place] if scores else None))
        return [place not in verdicts for place in range(len(candidates))]

    copy = config.duplicates or Duplicates()
    stays = drop(find_contaminated(candidates, benchmarks, copy.hamming, copy.color))
    candidates = list(compress(candidates, stays))
    copies = Copies(pictures_of(candidates), copy.hamming, copy.color)
    if config.duplicates:
        stays = drop(find_duplicates(candidates, copies))
        candidates = list(compress(candidates, stays))
    places, verdicts = deal(candidates, copies, config.split)
    stays = drop(verdicts)
    candidates, places = list(compress(candidates, stays)), list(compress(places, stays))
    scores: list[Score] = score(candidates) if score else [None] * len(candidates)
    cut = cut_of(scores, config.alignment.drop if config.alignment else 0)
    stays = drop(find_misaligned(scores, cut), scores)
    kept = zip(compress(candidates, stays), compress(places, stays), compress(scores, stays), strict=True)
    order = {(line.source, line.number): place for place, line in enumerate(lines)}
    return Result(
        rows=[_row(candidate, place, value) for candidate, place, value in kept],
        quarantined=sorted(dropped, key=lambda item: order[item.source, item.line]),
        pictures=pictures,
        cut=cut,
    )


def read(
    lines: Sequence[Line], folders: Mapping[str, Path], limits: Images
) -> tuple[list[Candidate], list[Quarantined]]:
    """Lines that hold a row with a fit picture and text, and those that do not; a picture is opened once."""
    seen: dict[Path, PictureFile | Rejected] = {}
    candidates, dropped = [], []
    for line in tqdm(lines, desc="reading rows", unit="row"):
        sha = None
        try:
            record = parse(line)
            path = locate(folders[line.source], record.image)
            if path not in seen:
                seen[path] = _examined(path, limits)
            picture = seen[path]
            if isinstance(picture, Rejected):
                raise Rejected(picture.reason, picture.detail)
            sha = picture.sha
            check_text(record)
            candidates.append(Candidate(record, picture))
        except Rejected as verdict:
            dropped.append(_quarantined(line, verdict, sha))
    return candidates, dropped


def _examined(path: Path, limits: Images) -> PictureFile | Rejected:
    try:
        return examine(path, limits)
    except Rejected as verdict:
        return verdict


def _quarantined(line: Line, verdict: Rejected, image: str | None, alignment: Score = None) -> Quarantined:
    return Quarantined(
        source=line.source,
        line=line.number,
        reason=verdict.reason,
        detail=verdict.detail,
        original=line.text,
        image=image,
        alignment=alignment,
    )


def _row(candidate: Candidate, place: Place, alignment: Score) -> Row:
    record, images = candidate.record, [candidate.picture.sha]
    messages = [message.model_dump() for message in record.messages]
    return Row(
        id=digest_json([images, messages])[:16],
        images=images,
        messages=list(record.messages),
        split=place.split,
        group=place.group,
        kind=record.kind,
        source=record.line.source,
        line=record.line.number,
        alignment=alignment,
    )
