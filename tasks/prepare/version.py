"""Puts a prepared dataset under DVC, and keeps DVC's view of the other stages in step. The only file that knows DVC.

    version = add_version(dataset, recipe.name, recipe.version)   # data/prepared/<name>/ and <name>.dvc
    version.text                                                  # what to commit, or to log with the run
    commit_lock(recipe.name)                                      # dvc.lock as if `dvc repro` had run the stages

The dataset in `runs/` stays where it is; the folder that DVC tracks holds hard links to it where the file system has
them. Nothing here commits to git or reports usage (only DVC's own command line does the latter).
"""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks.errors import LavaflowError
from tasks.recipe import Version
from tasks.refs import DatasetRef
from tasks.store import MANIFEST, digest_file

log = logging.getLogger(__name__)

PREPARED = Path("data/prepared")


class DataVersion(BaseModel):
    """A dataset under DVC."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    file: str
    """The `.dvc` file, relative to the working folder: what goes into git."""
    md5: str
    """DVC's name of the version."""
    text: str
    """Content of the `.dvc` file: enough to fetch the version again."""
    pushed: bool
    """Whether the version lies in a remote."""


def add_version(dataset: DatasetRef, name: str, config: Version) -> DataVersion:
    """Track the dataset as `data/prepared/<name>` and push it.

    Args:
        dataset: what `prepare` made.
        name: of the recipe.
        config: the recipe's section.

    Raises:
        LavaflowError: DVC cannot do it; names what stands in the way.
    """
    target = PREPARED / name
    file = target.with_name(f"{name}.dvc")
    with _repo() as repo:
        if not _mirrors(target, dataset.folder):
            _mirror(dataset.folder, target)
        if not _tracked(repo, target):
            file.unlink(missing_ok=True)  # empty, if an earlier run met a full disk
        if not file.exists() or repo.status([str(file)]):
            repo.add([str(target)], relink=False)  # the links to runs/ are as good as links to DVC's cache
        if not _tracked(repo, target):
            raise LavaflowError(
                f"version: DVC does not see {file}, because .gitignore hides its folder; write `/data/?*` for `/data/*`"
                " there (the git in DVC reads that as all of data/), and `!/data/prepared/` below"
            )
        (out,) = repo.find_outs_by_path(str(target))
        pushed = config.push and _push(repo, file, config.remote)
        md5 = str(out.hash_info.value)
    log.info("version: %s is %s", file, md5)
    return DataVersion(file=str(file), md5=md5, text=file.read_text(encoding="utf-8"), pushed=pushed)


def commit_lock(recipe: str) -> bool:
    """Bring dvc.lock up to date after a recipe's stages of dvc.yaml were run by other means.

    What DVC cannot do is said in a warning: the run whose last act this is has been done.

    Args:
        recipe: its name; stages of other recipes are not touched.

    Returns:
        True if the lock was written, False if it was up to date or there is nothing of the recipe in dvc.yaml.
    """
    if not Path("dvc.yaml").exists():
        return False
    try:
        with _repo() as repo:
            changed = repo.status()
            stages = [stage for stage in repo.index.stages if stage.addressing in changed and _is_of(stage, recipe)]
            stale = [stage.addressing for stage in stages if _has_run(stage)]
            for stage in stale:
                repo.commit(stage, force=True)
        return bool(stale)
    except LavaflowError as error:
        log.warning("dvc.lock is not up to date (%s): `dvc commit` brings it there", error)
        return False


def _is_of(stage: Any, recipe: str) -> bool:
    return any(f"refs/{recipe}/" in str(out) for out in stage.outs)


def _tracked(repo: Any, target: Path) -> bool:
    from dvc.exceptions import OutputNotFoundError

    try:
        return bool(repo.find_outs_by_path(str(target)))
    except OutputNotFoundError:
        return False


def _has_run(stage: Any) -> bool:
    """A stage of dvc.yaml whose files are all there; `.dvc` files are not for a lock, and are no business of ours."""
    return not stage.is_data_source and all(part.exists for part in [*stage.deps, *stage.outs])


@contextmanager
def _repo() -> Iterator[Any]:
    """DVC's repository here, made if there is none; quiet, and with errors of one line."""
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.lock import LockError
    from dvc.logger import set_loggers_level
    from dvc.repo import Repo

    with set_loggers_level(logging.CRITICAL):  # what it logs as an error it raises too
        try:
            try:
                repo = Repo(".")
            except NotDvcRepoError:
                repo = _init(Repo)
            with repo:
                yield repo
        except LockError as error:
            raise LavaflowError(
                "version: another DVC process is at work here; wait for it to end, and run again"
            ) from error
        except DvcException as error:
            raise LavaflowError(f"version: DVC: {' '.join(str(error).split())[:300]}") from error


def _init(repo_class: Any) -> Any:
    here = Path.cwd()
    in_git = (here / ".git").exists()
    below_git = any((parent / ".git").exists() for parent in here.parents)
    log.info("version: no DVC repository yet; making one in %s", here)
    try:
        return repo_class.init(".", no_scm=not in_git and not below_git, subdir=below_git and not in_git)
    except BaseException:
        shutil.rmtree(".dvc", ignore_errors=True)  # half a repository would stand in the way of the next run
        raise


def _push(repo: Any, file: Path, remote: str | None) -> bool:
    from dvc.config import NoRemoteError

    try:
        sent = repo.push([str(file)], remote=remote)
    except NoRemoteError:
        log.warning("version: kept on this machine only; for a copy elsewhere: dvc remote add -d store URL")
        return False
    log.info("version: %d files sent to the remote", sent)
    return True


def _files(folder: Path) -> dict[str, Path]:
    """What belongs to a dataset's version: not the manifest, which tells of one run."""
    found = (path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else ()
    return {path.name: path for path in found if path.name != MANIFEST and not path.name.startswith(".")}


def _mirrors(target: Path, source: Path) -> bool:
    theirs, ours = _files(target), _files(source)
    return theirs.keys() == ours.keys() and all(_equal(theirs[name], ours[name]) for name in ours)


def _equal(one: Path, other: Path) -> bool:
    return one.samefile(other) or digest_file(one) == digest_file(other)


def _mirror(source: Path, target: Path) -> None:
    """Make `target` hold the same files, whole or not at all."""
    new, old = target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")
    for rest in (new, old):  # of a run that was killed
        shutil.rmtree(rest, ignore_errors=True)
    new.mkdir(parents=True)
    for name, file in _files(source).items():
        try:
            os.link(file, new / name)
        except OSError:  # another file system, or one without links
            shutil.copy2(file, new / name)
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)
