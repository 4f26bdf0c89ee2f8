"""The one store of results: `runs/<stage>/<key>/manifest.json`, whoever drives (command line, Prefect, `dvc repro`).

    ref = run_stage(PREPARE, inputs={"rows.jsonl": sha}, section=recipe.prepare, build=build)

A stage's key hashes what decides its result: the content of its inputs, its recipe section, and the code of its room
(comments, docstrings and formatting aside). If the folder of that key exists, the stage is done and `build` is not
called. Otherwise `build(folder)` writes into `runs/<stage>/<key>.partial`, which is renamed when it is whole: a folder
without the suffix is complete. A `resumable` stage finds its own earlier partial folder again after a kill.
"""

import ast
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from tasks.locks import exclusive
from tasks.refs import Ref

log = logging.getLogger(__name__)

RUNS = Path("runs")
MANIFEST = "manifest.json"
CODE = Path(__file__).parent

R = TypeVar("R", bound=Ref)


@dataclass(frozen=True)
class Stage(Generic[R]):
    """A kind of result: its folder under `runs/`, the code that decides it, and the reference it hands on."""

    name: str
    code: tuple[str, ...]
    """Files or folders below `tasks/` whose change makes old results stale."""
    ref: type[R]
    resumable: bool = False
    """True if `build` can go on from what a killed run left in the partial folder."""


class Manifest(BaseModel):
    """What made a result, beside it in its folder."""

    stage: str
    key: str
    inputs: dict[str, str]
    section: dict[str, Any]
    code: str
    ref: dict[str, Any]
    files: dict[str, int]
    """Bytes of each file, by relative name."""
    seconds: float
    finished: str
    """Local time, ISO 8601."""


def run_stage(
    stage: Stage[R],
    *,
    inputs: Mapping[str, str],
    section: BaseModel | Mapping[str, Any],
    build: Callable[[Path], Mapping[str, Any]],
) -> R:
    """The stage's reference, made by `build` unless a result of the same key exists.

    Args:
        stage: what kind of result this is.
        inputs: name to content hash of everything that goes in.
        section: the part of the recipe that decides the result.
        build: writes the result into the folder it is given and returns the reference's fields beyond path and digest.

    Raises:
        LavaflowError: another process is making the same result.
    """
    values = section.model_dump(mode="json") if isinstance(section, BaseModel) else dict(section)
    code = code_digest(stage.code)
    key = digest_json([stage.name, dict(inputs), values, code])[:16]
    folder = RUNS / stage.name / key
    damaged = folder.exists()
    if done := find(stage, folder):
        log.info("%s: unchanged, taken from %s", stage.name, folder)
        return done
    with exclusive(RUNS / stage.name / f"{key}.lock", f"{stage.name} ({folder}) is being made by another run"):
        if not damaged and (done := find(stage, folder)):  # made by another run just before we had the lock
            return done
        partial = folder.with_name(f"{key}.partial")
        if partial.exists() and not stage.resumable:
            shutil.rmtree(partial)
        partial.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        fields = build(partial)
        ref = stage.ref(path=str(folder), digest=digest_tree(partial), **fields)
        manifest = Manifest(
            stage=stage.name,
            key=key,
            inputs=dict(inputs),
            section=values,
            code=code,
            ref=ref.model_dump(mode="json"),
            files=_sizes(partial),
            seconds=round(time.monotonic() - started, 3),
            finished=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        )
        write_whole(partial / MANIFEST, manifest.model_dump_json(indent=2))
        if folder.exists():  # what `find` could not use
            shutil.rmtree(folder)
        partial.rename(folder)
        return ref


def find(stage: Stage[R], folder: Path) -> R | None:
    """The reference of a finished result in `folder`; None if there is none, or one that was damaged since."""
    if not folder.exists():
        return None
    manifest = read_manifest(folder)
    wrong = "its manifest cannot be read" if manifest is None else _damage(folder, manifest.files)
    if wrong or manifest is None:
        log.warning("%s: %s is damaged (%s) and is made again", stage.name, folder, wrong)
        return None
    return stage.ref.model_validate(manifest.ref)


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of a result's files by relative name; those that `digest_tree` leaves out are left out."""
    files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    return {n: file.stat().st_size for n, file in sorted(files.items()) if not n.startswith(".") and n != MANIFEST}


def _damage(folder: Path, files: Mapping[str, int]) -> str:
    """What is wrong with a result's files, as far as names and sizes tell; empty if nothing is."""
    found = _sizes(folder)
    wrong = [name for name, size in files.items() if found.get(name) != size]
    return f"{wrong[0]} is {'cut' if wrong[0] in found else 'gone'}" if wrong else ""


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest beside a finished result; None if it is not there or cannot be read."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a kill at any moment leaves the old content or the new, never a half."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def digest_json(value: Any) -> str:
    """SHA-256 (hex) of a JSON value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 (hex) of one file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_tree(path: Path) -> str:
    """SHA-256 (hex) of a file, or of a folder's files by relative name; manifests and hidden files are left out."""
    if path.is_file():
        return digest_file(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    named = [(file.relative_to(path).as_posix(), file) for file in files]
    return digest_json(
        [[name, digest_file(file)] for name, file in named if not name.startswith(".") and name != MANIFEST]
    )


@cache
def code_digest(parts: tuple[str, ...]) -> str:
    """SHA-256 (hex) over the syntax trees of Python files below `tasks/`: what they do, not how they are written."""
    files = sorted({file for part in parts for file in _python_files(CODE / part)})
    return digest_json([[file.relative_to(CODE).as_posix(), _meaning(file)] for file in files])


def _python_files(path: Path) -> list[Path]:
    if path.is_dir():
        return list(path.rglob("*.py"))
    return [path.with_suffix(".py")]


def _meaning(file: Path) -> str:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):  # bare strings are docstrings: prose, not behaviour
            node.body = [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()
